"""Exact unit-level gradients: how the loss would answer if a unit were turned down.

A mask of ones on the inputs of o_proj and down_proj, one per sequence and unit, has the gradient
∂ℓ_b/∂m_u = Σ_t Σ_c x · ∂ℓ_b/∂x over the unit's channels: the first-order effect of the unit as a whole, found from what
the backward pass computes anyway, without a mask and without any weight gradient. A mask per token has Σ_c x · ∂ℓ/∂x.

Legend: B sequences, T tokens, N tokens of all sequences, I channels, U units.
"""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from jobs.shapes import ModelShape
from worker.engine import ranks
from worker.engine.architectures import Family
from worker.engine.plan import Plan, Scores
from worker.engine.precision import at_least_float32
from worker.engine.scores import comparison, entries, gates
from worker.engine.scores.scorer import Scorer
from worker.engine.scores.watching import Sequences, watch_input

Order = Literal["token", "fisher", "first"]


class MaskGradient(Scorer):
    """Collects while the model trains, for each unit, Σ_b Σ_t (∂ℓ_b/∂m_tu)² (`token`), where what a unit does for one
    token is not made up for by what it does against another, Σ_b (∂ℓ_b/∂m_u)² (`fisher`) or |Σ_b ∂ℓ_b/∂m_u| (`first`).

    Layers and kinds have the loss as their common unit, so all scores of a step share one length.

    Source: Kwon et al. 2022, arXiv:2204.00656, eq. 5, with tokens or sequences as samples; Michel et al. 2019,
        arXiv:1905.10650.
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
        scores = iter(score_U.abs() for score_U in found)
        return comparison.of_one_length({kind: [next(scores) for _ in layers] for kind, layers in places.items()})

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _add(self, gate: nn.Module, run: int, hidden: Tensor, gradient: Tensor) -> None:
        if self._order == "token":
            sums_U = token_squares(hidden.flatten(0, -2), gradient.flatten(0, -2), run)
        else:
            gradient_BU = mask_gradients(self._sequences.apart(hidden), self._sequences.apart(gradient), run)
            sums_U = gradient_BU.square().sum(dim=0) if self._order == "fisher" else gradient_BU.sum(dim=0)
        self._sums[gate] = self._sums[gate] + sums_U if gate in self._sums else sums_U


def token_squares(hidden_NI: Tensor, gradient_NI: Tensor, run: int) -> Tensor:
    """(U,): the squared gradients of masks of ones over `run` channels of one token, summed in float32 or better."""
    sums_U = _zeros(hidden_NI, hidden_NI.shape[1] // run)
    for products_nI in _products(hidden_NI, gradient_NI):
        slopes_nU = products_nI if run == 1 else products_nI.unflatten(-1, (-1, run)).sum(dim=-1)
        sums_U += slopes_nU.square_().sum(dim=0)
    return sums_U


def mask_gradients(hidden_BTI: Tensor, gradient_BTI: Tensor, run: int) -> Tensor:
    """(B, U) gradients of masks of ones over `run` channels each, summed in float32 or better."""
    sums_BI = torch.stack([_summed(*pair) for pair in zip(hidden_BTI, gradient_BTI, strict=True)])
    return sums_BI.unflatten(-1, (-1, run)).sum(dim=-1)


def _summed(hidden_TI: Tensor, gradient_TI: Tensor) -> Tensor:
    """Σ_t x · ∂ℓ/∂x, (I,)."""
    sums_I = _zeros(hidden_TI, hidden_TI.shape[1])
    for products_tI in _products(hidden_TI, gradient_TI):
        sums_I += products_tI.sum(dim=0)
    return sums_I


def _products(hidden_NI: Tensor, gradient_NI: Tensor) -> Iterator[Tensor]:
    """x · ∂ℓ/∂x, some tokens at a time."""
    precise = at_least_float32(hidden_NI)
    rows = entries.rows_at_once(hidden_NI.shape[1], hidden_NI.device)
    for x_nI, gradient_nI in zip(hidden_NI.split(rows), gradient_NI.split(rows), strict=True):
        yield x_nI.to(precise, copy=True).mul_(gradient_nI)


def _zeros(like: Tensor, count: int) -> Tensor:
    return like.new_zeros(count, dtype=at_least_float32(like))
