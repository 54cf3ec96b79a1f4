"""How much the output of a layer would miss a unit that is replaced by its mean."""

import torch
from torch import Tensor, nn

from jobs.shapes import ModelShape
from worker.engine import adapters
from worker.engine.architectures import Family, Member
from worker.engine.plan import Plan, Scores
from worker.engine.scores import comparison, entries
from worker.engine.scores.moments import GateMoments
from worker.engine.scores.scorer import Scorer


class Fluctuation(Scorer):
    """Variance of what enters o_proj and down_proj, times the squared length of the weight column that reads it.

    Standardised per layer, then averaged over a unit's channels. Variances are those of a step; the running average
    joins the steps and forgets what the model was like before a cut.

    Source: FLAP, arXiv:2312.11983 (its criterion WIFV).
    """

    per_parameter = False

    def __init__(self, model: nn.Module, family: Family, shape: ModelShape) -> None:
        self._model = model
        self._family = family
        self._shape = shape
        self._moments = GateMoments(model, family)

    @torch.no_grad()
    def take(self, plan: Plan) -> Scores:
        blocks = list(self._family.layers(self._model))
        return {
            kind: [
                self._scores(block, self._family.gate(kind), found.variance_I)
                for block, found in zip(blocks, layers, strict=True)
            ]
            for kind, layers in self._moments.take().items()
        }

    def close(self) -> None:
        self._moments.close()

    def _scores(self, block: nn.Module, gate: Member, variance_I: Tensor) -> Tensor:
        channel_I = variance_I * entries.weight_sums(adapters.read(block, gate), 1, norm="l2")
        score_U = channel_I.view(-1, gate.channels(self._shape)).mean(dim=1)
        return comparison.standardised(score_U, channel_I).to(torch.float32)
