"""Mean and spread of what enters each gate, over the tokens that the loss depends on.

Legend: B sequences, T tokens, I channels; t, a chunk of T.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from worker.engine import ranks
from worker.engine.architectures import Family, Kind
from worker.engine.precision import at_least_float32
from worker.engine.scores import entries, gates
from worker.engine.scores.watching import watch_input


@dataclass(frozen=True)
class Moments:
    """Of some tokens: how many, their mean, and the sum of their squared deviations from it; float32 or better."""

    count: Tensor
    mean_I: Tensor
    spread_I: Tensor

    @classmethod
    def of(cls, tokens_TI: Tensor, counts_T: Tensor) -> Self:
        """Of the tokens where `counts_T` is one rather than zero.

        Sums are taken about the mean of a few of the tokens, which is close to that of all: nothing large cancels.
        """
        precise = at_least_float32(tokens_TI)
        rows = entries.rows_at_once(tokens_TI.shape[1], tokens_TI.device)
        about_I = tokens_TI[:: -(-len(tokens_TI) // rows)].to(precise).mean(dim=0)
        sum_I, squares_I = torch.zeros_like(about_I), torch.zeros_like(about_I)
        for tokens_tI, counts_t in zip(tokens_TI.split(rows), counts_T.to(precise).split(rows), strict=True):
            apart_tI = tokens_tI.to(precise, copy=True).sub_(about_I)
            sum_I.addmv_(apart_tI.T, counts_t)
            squares_I.addmv_(apart_tI.square_().T, counts_t)
        count = counts_T.sum(dtype=precise)
        off_I = sum_I / count.clamp_min(1)
        return cls(count, about_I + off_I, (squares_I - count * off_I.square()).clamp_min_(0))

    @property
    def variance_I(self) -> Tensor:
        """Unbiased."""
        return self.spread_I / (self.count - 1).clamp_min(1)

    @property
    def mean_square_I(self) -> Tensor:
        """E x²."""
        return self.mean_I.square() + self.spread_I / self.count.clamp_min(1)


def merged(parts: Sequence[Moments]) -> Moments:
    """The moments of all tokens together, without ever subtracting large sums from each other.

    Source: Chan, Golub and LeVeque 1983, The American Statistician 37(3).
    """
    counts = torch.stack([part.count for part in parts])[:, None]
    means = torch.stack([part.mean_I for part in parts])
    mean_I = (counts * means).sum(dim=0) / counts.sum().clamp_min(1)
    within_I = torch.stack([part.spread_I for part in parts]).sum(dim=0)
    return Moments(counts.sum(), mean_I, within_I + (counts * (means - mean_I).square()).sum(dim=0))


def over_processes(parts: Sequence[Moments]) -> list[Moments]:
    """Each of the moments, merged with those of the other processes."""
    counts = ranks.summed([part.count for part in parts])
    sums = ranks.summed([part.count * part.mean_I for part in parts])
    means = [sum_I / count.clamp_min(1) for sum_I, count in zip(sums, counts, strict=True)]
    spreads = ranks.summed(
        [
            part.spread_I + part.count * (part.mean_I - mean_I).square()
            for part, mean_I in zip(parts, means, strict=True)
        ]
    )
    return [Moments(*found) for found in zip(counts, means, spreads, strict=True)]


class GateMoments:
    """Collects the moments of what enters the gates of a bare `...ForCausalLM` while it trains.

    A token counts where the loss has any gradient by it, to the precision of its square: padding has none, nor has, in
    the last block, a token whose successor is not learned.
    """

    def __init__(self, model: nn.Module, family: Family) -> None:
        self._model = model
        self._family = family
        self._found: dict[nn.Module, Moments] = {}
        self._hooks = [
            watch_input(gate, partial(self._add, gate))
            for layers in gates.of(model, family).values()
            for gate in layers
        ]

    def take(self) -> dict[Kind, list[Moments]]:
        """Of what entered the gate of each block since the last call, in all processes."""
        places = gates.of(self._model, self._family)
        found = iter(over_processes([self._found[gate] for layers in places.values() for gate in layers]))
        self._found.clear()
        return {kind: [next(found) for _ in layers] for kind, layers in places.items()}

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()

    def _add(self, gate: nn.Module, hidden_BTI: Tensor, gradient_BTI: Tensor) -> None:
        counts_T = torch.linalg.vector_norm(gradient_BTI, dim=-1).flatten() != 0
        found = Moments.of(hidden_BTI.flatten(0, -2), counts_T)
        self._found[gate] = merged([self._found[gate], found]) if gate in self._found else found
