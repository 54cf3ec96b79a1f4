"""How important each unit is, read from the LoRA factors and their gradients.

Legend: O output channels, I input channels, R rank, U units; o, a chunk of O.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from jobs.shapes import ModelShape
from worker.engine import adapters
from worker.engine.adapters import Adapted, Factors
from worker.engine.architectures import Family, Kind, Member
from worker.engine.plan import Plan, Scores
from worker.engine.scores import comparison, entries
from worker.engine.scores.entries import Norm
from worker.engine.scores.scorer import Scorer


class LoraGradient(Scorer):
    """First-order importance by the gradient of the effective weight, as far as the gradients of its factors tell it.

    Each matrix is seen through factors of its own size, so the L2-normalised scores of a layer's matrices are added, as
    published. The layer as a whole then gets the weight that its matrices had before, which makes it comparable again
    with other layers, and kinds: nearly all factors read the hidden size, so the estimate shrinks all matrices alike.

    Source: LoRAPrune, arXiv:2305.18403, eq. 8-10.
    """

    per_parameter = True
    one_by_one = True

    def __init__(self, model: nn.Module, family: Family, shape: ModelShape, *, norm: Norm) -> None:
        self._model = model
        self._family = family
        self._shape = shape
        self._norm = norm

    @torch.no_grad()
    def take(self, plan: Plan) -> Scores:
        """As promised. Distributed training has averaged the gradients already.

        Raises:
            LossNotFinite: a gradient is missing.
        """
        blocks = list(self._family.layers(self._model))
        scores = {kind: [combined(self._members(block, kind)) for block in blocks] for kind in self._family.kinds}
        return comparison.of_one_length(scores)

    def _members(self, block: nn.Module, kind: Kind) -> list[Tensor]:
        """What each matrix of a kind says, (U,) each; the parts of a fused one speak for themselves."""
        return [
            score_U
            for member in self._family.of(kind)
            for score_U in unit_scores(
                adapters.read(block, member),
                adapters.gradients(block, member),
                member,
                shape=self._shape,
                norm=self._norm,
            )
        ]


def combined(members: Sequence[Tensor]) -> Tensor:
    """The sum of normalised scores, at the mean weight that they had before; (U,)."""
    lengths = [score_U.norm() for score_U in members]
    normalised = [
        score_U / torch.where(length > 0, length, 1) for score_U, length in zip(members, lengths, strict=True)
    ]
    return torch.stack(normalised).sum(dim=0) * torch.stack(lengths).mean()


def unit_scores(adapted: Adapted, gradients: Factors, member: Member, shape: ModelShape, *, norm: Norm) -> list[Tensor]:
    """(U,) float32 per part of a matrix: the importance of each unit as this part sees it."""
    return entries.by_part(channel_scores(adapted, gradients, member.axis, norm=norm), member, shape)


def channel_scores(
    adapted: Adapted, gradients: Factors, axis: Literal[0, 1], *, norm: Norm, chunk: int | None = None
) -> Tensor:
    """First-order importance of each channel on `axis`: Σ |Ĝ ∘ (W + s·BA)| over its entries (or what `norm` says).

    Ĝ = ∇B·A + B·∇A stands for the gradient of the effective weight. The paper's third term, ∇B·∇A, is left out: it
    grows with the square of the gradient, so that its weight would depend on loss scaling and clipping.

    Args:
        chunk: rows at once, if not what suits the device.
    Returns:
        (channels,) float32. Its scale carries no meaning across matrices.
    Source: arXiv:2305.18403, eq. 8-10.
    """
    # One product instead of two: [∇B B] [A; ∇A] = ∇B·A + B·∇A.
    left = torch.cat([gradients.b_OR, adapted.factors.b_OR], dim=1).float()
    right = torch.cat([adapted.factors.a_RI, gradients.a_RI], dim=0).float()

    def taylor(part: slice) -> Iterator[Tensor]:
        yield (left[part] @ right).mul_(adapted.rows(part))

    rows = chunk or entries.rows_at_once(adapted.size[1], adapted.device)
    return entries.channel_sums(taylor, adapted.size, axis, norm=norm, chunk=rows)
