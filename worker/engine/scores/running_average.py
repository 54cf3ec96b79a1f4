"""Scores averaged over the steps, and over what was read before them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from worker.engine import ranks
from worker.engine.architectures import Kind
from worker.engine.plan import Plan, Scores, restrict


class RunningAverage:
    """Exponential average of scores with bias correction, so that the first steps are not pulled to zero."""

    def __init__(self, decay: float) -> None:
        self._share = 1 - decay
        self._weight = 0.0
        self._sums: dict[Kind, list[Tensor]] = {}

    def add(self, scores: Scores) -> None:
        """Take in the scores of one step."""
        self._weight += self._share * (1 - self._weight)
        for kind, layers in scores.items():
            sums = self._sums.setdefault(kind, [torch.zeros_like(score_U) for score_U in layers])
            for total_U, score_U in zip(sums, layers, strict=True):
                total_U.mul_(1 - self._share).add_(score_U, alpha=self._share)

    def value(self) -> Scores:
        """The average, float32, on the CPU, the same in all processes."""
        ranks.as_first([total_U for sums in self._sums.values() for total_U in sums])
        return {kind: [(total_U / self._weight).cpu() for total_U in sums] for kind, sums in self._sums.items()}

    def keep(self, before: Plan, after: Plan) -> None:
        """Forget the layers and units that `after` has no longer."""
        self._sums = {kind: list(layers) for kind, layers in restrict(self._sums, before, after).items()}

    def state(self) -> dict[str, Tensor]:
        """All there is to remember, for a checkpoint."""
        sums = {f"{kind}.{place}": total_U for kind, sums in self._sums.items() for place, total_U in enumerate(sums)}
        return {"weight": torch.tensor(self._weight, dtype=torch.float64), **sums}

    def restore(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Go on from what `state` gave."""
        self._weight = float(state["weight"])
        self._sums = {}
        for kind in Kind:
            places = sum(name.startswith(f"{kind}.") for name in state)
            if places:
                self._sums[kind] = [state[f"{kind}.{place}"].to(device, copy=True) for place in range(places)]
