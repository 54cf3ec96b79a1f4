"""How strongly a unit is active."""

import torch
from torch import Tensor, nn

from jobs.shapes import ModelShape
from worker.engine.architectures import Family
from worker.engine.plan import Plan, Scores
from worker.engine.scores import comparison
from worker.engine.scores.moments import GateMoments, Moments
from worker.engine.scores.scorer import Scorer


class Activation(Scorer):
    """Root mean square of what enters o_proj and down_proj, over tokens and a unit's channels; standardised per layer.

    Source: Minitron, arXiv:2407.14679, with the mean square in place of its mean of absolute values.
    """

    per_parameter = False

    def __init__(self, model: nn.Module, family: Family, shape: ModelShape) -> None:
        self._family = family
        self._shape = shape
        self._moments = GateMoments(model, family)

    def take(self, plan: Plan) -> Scores:
        return {
            kind: [_scores(found, self._family.gate(kind).channels(self._shape)) for found in layers]
            for kind, layers in self._moments.take().items()
        }

    def close(self) -> None:
        self._moments.close()


def _scores(found: Moments, run: int) -> Tensor:
    score_U = found.mean_square_I.view(-1, run).mean(dim=1).sqrt()
    return comparison.standardised(score_U, found.mean_square_I.sqrt()).to(torch.float32)
