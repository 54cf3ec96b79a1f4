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
        """Of the tokens where `counts_T` is one rather than zero."""
        counts_T1 = counts_T[:, None]
        count = counts_T.sum()
        mean_I = (tokens_TI * counts_T1).sum(dim=0) / count.clamp_min(1)
        return cls(count, mean_I, (tokens_TI - mean_I).square_().mul_(counts_T1).sum(dim=0))

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

    A token counts where the loss has any gradient by it: padding has none, nor has, in the last block, a token whose
    successor is not learned.
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
        precise = at_least_float32(hidden_BTI)
        rows = entries.rows_at_once(hidden_BTI.shape[-1], hidden_BTI.device)
        tokens, gradients = hidden_BTI.flatten(0, -2).split(rows), gradient_BTI.flatten(0, -2).split(rows)
        parts = [
            # Not by `any`, which on a CPU takes ten times as long.
            Moments.of(tokens_tI.to(precise), (gradient_tI.abs().sum(dim=-1) != 0).to(precise))
            for tokens_tI, gradient_tI in zip(tokens, gradients, strict=True)
        ]
        self._found[gate] = merged([self._found[gate], *parts] if gate in self._found else parts)
