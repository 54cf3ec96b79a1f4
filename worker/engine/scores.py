"""How important each unit is, read from the LoRA factors and their gradients.

Legend: O output channels, I input channels, R rank, U units, L layers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from jobs.shapes import ModelShape
from worker.engine import plan
from worker.engine.architectures import Kind, Member
from worker.engine.plan import Plan, Scores

Norm = Literal["l1", "l2"]

CHUNK = 1024
"""Channels scored at once: memory grows with the chunk, not with the matrix."""


@dataclass(frozen=True)
class Adapted:
    """A frozen weight with its LoRA factors and their gradients; the effective weight is W + scale · B A."""

    weight_OI: Tensor
    a_RI: Tensor
    b_OR: Tensor
    grad_a_RI: Tensor
    grad_b_OR: Tensor
    scale: float


def channel_scores(adapted: Adapted, axis: Literal[0, 1], *, norm: Norm, chunk: int = CHUNK) -> Tensor:
    """First-order importance of each channel on `axis`: Σ |Ĝ ∘ (W + s·BA)| over its entries (or squares, `l2`).

    Ĝ = ∇B·A + B·∇A stands for the gradient of the effective weight. The paper's third term, ∇B·∇A, is left out: it
    grows with the square of the gradient, so that its weight would depend on loss scaling and clipping.

    Returns:
        (channels,) float32. Its scale carries no meaning across matrices.
    Source: arXiv:2305.18403, eq. 8-10.
    """
    size = adapted.weight_OI.shape[axis]
    return torch.cat(
        [_score_chunk(adapted, axis, slice(start, start + chunk), norm) for start in range(0, size, chunk)]
    )


def _score_chunk(adapted: Adapted, axis: Literal[0, 1], part: slice, norm: Norm) -> Tensor:
    weight_OI, a_RI, b_OR = adapted.weight_OI, adapted.a_RI, adapted.b_OR
    grad_a_RI, grad_b_OR = adapted.grad_a_RI, adapted.grad_b_OR
    if axis == 0:
        weight_OI, b_OR, grad_b_OR = weight_OI[part], b_OR[part], grad_b_OR[part]
    else:
        weight_OI, a_RI, grad_a_RI = weight_OI[:, part], a_RI[:, part], grad_a_RI[:, part]
    a_RI, b_OR, grad_a_RI, grad_b_OR = a_RI.float(), b_OR.float(), grad_a_RI.float(), grad_b_OR.float()
    # One product instead of two: [∇B B] [A; ∇A] = ∇B·A + B·∇A.
    taylor_OI = torch.cat([grad_b_OR, b_OR], dim=1) @ torch.cat([a_RI, grad_a_RI], dim=0)
    taylor_OI *= torch.addmm(weight_OI.float(), b_OR, a_RI, alpha=adapted.scale)
    taylor_OI = taylor_OI.abs_() if norm == "l1" else taylor_OI.square_()
    return taylor_OI.sum(dim=1 - axis)


def unit_scores(adapted: Adapted, member: Member, shape: ModelShape, *, norm: Norm, chunk: int = CHUNK) -> Tensor:
    """Importance of each unit as this one matrix sees it, L2-normalised so that matrices can be added.

    Returns:
        (U,) float32; all zero if no entry has a gradient.
    """
    channels = channel_scores(adapted, member.axis, norm=norm, chunk=chunk)
    score_U = channels.view(-1, member.channels(shape)).sum(dim=1)
    length = score_U.norm()
    return score_U / length if length > 0 else score_U


class RunningAverage:
    """Exponential average of scores with bias correction, so that the first steps are not pulled to zero."""

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._steps = 0
        self._sums: dict[Kind, list[Tensor]] = {}

    def add(self, scores: Scores) -> None:
        """Take in the scores of one step."""
        self._steps += 1
        for kind, layers in scores.items():
            sums = self._sums.setdefault(kind, [torch.zeros_like(score_U) for score_U in layers])
            for total_U, score_U in zip(sums, layers, strict=True):
                total_U.mul_(self._decay).add_(score_U, alpha=1 - self._decay)

    def value(self) -> Scores:
        """The average, float32, on the CPU."""
        correction = 1 - self._decay**self._steps
        return {kind: [(total_U / correction).cpu() for total_U in sums] for kind, sums in self._sums.items()}

    def keep(self, before: Plan, after: Plan) -> None:
        """Forget the layers and units that `after` has no longer."""
        self._sums = {kind: list(sums) for kind, sums in plan.restrict(self._sums, before, after).items()}


def layer_scores(members: Iterator[tuple[Member, Adapted]], shape: ModelShape, *, norm: Norm) -> dict[Kind, Tensor]:
    """Sum over the matrices of one layer: (U,) float32 per kind."""
    totals: dict[Kind, Tensor] = {}
    for member, adapted in members:
        score_U = unit_scores(adapted, member, shape, norm=norm)
        totals[member.kind] = totals[member.kind] + score_U if member.kind in totals else score_U
    return totals
