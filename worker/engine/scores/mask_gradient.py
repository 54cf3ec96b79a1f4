"""Exact unit-level gradients: how the loss would answer if a unit were turned down.

A mask of ones on the inputs of o_proj and down_proj, one per sequence and unit, has the gradient
∂ℓ_b/∂m_u = Σ_t Σ_c x · ∂ℓ_b/∂x over the unit's channels: the first-order effect of the unit as a whole, found from what
the backward pass computes anyway, without a mask and without any weight gradient.

Legend: B sequences, T tokens, I channels, U units.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from jobs.shapes import ModelShape
from worker.engine import ranks
from worker.engine.architectures import Family
from worker.engine.plan import Plan, Scores
from worker.engine.scores import comparison, entries, gates
from worker.engine.scores.scorer import Scorer
from worker.engine.scores.watching import Sequences, watch_input

Order = Literal["fisher", "first"]


class MaskGradient(Scorer):
    """Collects, for each unit, Σ_b (∂ℓ_b/∂m_u)² (`fisher`) or |Σ_b ∂ℓ_b/∂m_u| (`first`), while the model trains.

    Layers and kinds have the loss as their common unit, so all scores of a step share one length.

    Source: Kwon et al. 2022, arXiv:2204.00656, eq. 5, with sequences as samples; Michel et al. 2019, arXiv:1905.10650.
    """

    per_parameter = True

    def __init__(self, model: nn.Module, family: Family, shape: ModelShape, *, order: Order) -> None:
        self._model = model
        self._family = family
        self._order = order
        self._sums: dict[nn.Module, Tensor] = {}
        self._sequences = Sequences(model)
        self._hooks = [self._sequences.hook]
        self._hooks += [
            watch_input(gate, partial(self._add, gate, family.gate(kind).channels(shape)))
            for kind, layers in gates.of(model, family).items()
            for gate in layers
        ]

    def take(self, plan: Plan) -> Scores:
        places = gates.of(self._model, self._family)
        found = ranks.summed([self._sums[gate] for layers in places.values() for gate in layers])
        self._sums.clear()
        scores = iter(score_U if self._order == "fisher" else score_U.abs() for score_U in found)
        return comparison.of_one_length({kind: [next(scores) for _ in layers] for kind, layers in places.items()})

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _add(self, gate: nn.Module, run: int, hidden: Tensor, gradient: Tensor) -> None:
        gradient_BU = mask_gradients(self._sequences.apart(hidden), self._sequences.apart(gradient), run)
        sums_U = gradient_BU.square().sum(dim=0) if self._order == "fisher" else gradient_BU.sum(dim=0)
        self._sums[gate] = self._sums[gate] + sums_U if gate in self._sums else sums_U


def mask_gradients(hidden_BTI: Tensor, gradient_BTI: Tensor, run: int) -> Tensor:
    """(B, U) gradients of masks of ones over `run` channels each, summed in float32 or better."""
    sums_BI = torch.stack([_products(*pair) for pair in zip(hidden_BTI, gradient_BTI, strict=True)])
    return sums_BI.unflatten(-1, (-1, run)).sum(dim=-1)


def _products(hidden_TI: Tensor, gradient_TI: Tensor) -> Tensor:
    """Σ_t x · ∂ℓ/∂x, chunk by chunk."""
    precise = torch.promote_types(hidden_TI.dtype, torch.float32)
    rows = entries.rows_at_once(hidden_TI.shape[1], hidden_TI.device)
    sums_I = hidden_TI.new_zeros(hidden_TI.shape[1], dtype=precise)
    for x_tI, gradient_tI in zip(hidden_TI.split(rows), gradient_TI.split(rows), strict=True):
        sums_I += (x_tI.to(precise) * gradient_tI.to(precise)).sum(dim=0)
    return sums_I
