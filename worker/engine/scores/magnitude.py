"""The size of a unit's weights: what can be known without any text."""

import torch
from torch import Tensor, nn

from jobs.shapes import ModelShape
from worker.engine import adapters
from worker.engine.architectures import Family, Kind, Member
from worker.engine.plan import Plan, Scores
from worker.engine.scores import comparison, entries
from worker.engine.scores.entries import Norm
from worker.engine.scores.scorer import Scorer


class Magnitude(Scorer):
    """Σ |W + s·BA| over the entries of each unit (or squares, `l2`)."""

    per_parameter = True

    def __init__(self, model: nn.Module, family: Family, shape: ModelShape, *, norm: Norm) -> None:
        self._model = model
        self._family = family
        self._shape = shape
        self._norm = norm

    @torch.no_grad()
    def take(self, plan: Plan) -> Scores:
        blocks = list(self._family.layers(self._model))
        return comparison.of_one_length(
            {kind: [self._layer(block, kind) for block in blocks] for kind in self._family.kinds}
        )

    def _layer(self, block: nn.Module, kind: Kind) -> Tensor:
        matrices = [self._member(block, member) for member in self._family.of(kind)]
        return torch.stack(matrices).sum(dim=0)

    def _member(self, block: nn.Module, member: Member) -> Tensor:
        channels = entries.weight_sums(adapters.read(block, member), member.axis, norm=self._norm)
        return entries.by_unit(channels, member, self._shape)
