"""Making scores of different layers comparable, each in the way its criterion allows."""

import torch
from torch import Tensor

from worker.engine.plan import Scores


def of_one_length(scores: Scores) -> Scores:
    """All scores, of whatever layer and kind, divided by the length of the one vector that they form.

    A factor common to all of them drops out, their proportions stay; without any score they stay zero.
    """
    squares = [score_U.double().square().sum() for layers in scores.values() for score_U in layers]
    length = torch.stack(squares).sum().sqrt()
    divisor = torch.where(length > 0, length, 1)
    return {kind: [(score_U.double() / divisor).float() for score_U in layers] for kind, layers in scores.items()}


def of_one_length_per_kind(scores: Scores) -> Scores:
    """As `of_one_length`, for criteria whose scores of different kinds have no common unit."""
    return {kind: of_one_length({kind: layers})[kind] for kind, layers in scores.items()}


def standardised(scores: Scores) -> Scores:
    """Each layer's scores with mean zero and deviation one: how far a unit stands out among its neighbours.

    For criteria that do not measure the loss, where a budget ranks across layers. To be ranked as they are: a
    standardised score that is divided by a cost means nothing, since it can be negative.

    Source: Fluctuation-based pruning, arXiv:2312.11983, section 3.2.
    """
    return {kind: [_standardised(score_U) for score_U in layers] for kind, layers in scores.items()}


def _standardised(score_U: Tensor) -> Tensor:
    centred_U = score_U - score_U.mean()
    deviation = centred_U.square().mean().sqrt()
    return centred_U / torch.where(deviation > 0, deviation, 1)
