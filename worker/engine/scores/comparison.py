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


def standardised(score_U: Tensor, channel_I: Tensor) -> Tensor:
    """How far each unit of a layer stands out, in deviations of the layer's channels from their mean.

    Channels without any score, as of units that are removed but not yet cut, shape neither mean nor deviation.

    Source: FLAP, arXiv:2312.11983, where a unit's score is the mean of its standardised channels.
    """
    alive_I = (channel_I > 0).to(channel_I.dtype)
    count = alive_I.sum().clamp_min(1)
    mean = channel_I.sum() / count
    deviation = ((channel_I - mean).square() * alive_I).sum().div(count).sqrt()
    return (score_U - mean) / torch.where(deviation > 0, deviation, 1)
