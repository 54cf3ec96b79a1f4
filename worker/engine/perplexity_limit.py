"""Pruning for as long as the held-out perplexity allows."""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from jobs.budgets import PerplexityLimit
from worker.engine import evaluation, ranks
from worker.engine.windows import Windows


@dataclass
class Walk:
    """What was found on the way: perplexities on the same few held-out windows."""

    limit: float
    dense: float
    kept: float
    refused: float | None = None


class PerplexityWatch:
    """Measures a model after each cut and says whether that was one too many."""

    def __init__(self, model: PreTrainedModel, held_out: Windows, spec: PerplexityLimit) -> None:
        """`model`: untouched; what it answers now sets the limit."""
        self._model = model
        self._windows = held_out.first(spec.windows)
        dense = self._measured()
        self.walk = Walk(limit=dense * (1 + spec.increase), dense=dense, kept=dense)

    def allows(self) -> bool:
        """Whether the model as it is now is within the limit."""
        now = self._measured()
        if now <= self.walk.limit:
            self.walk.kept = now
            return True
        self.walk.refused = now
        return False

    def _measured(self) -> float:
        """The same on all processes of a training run, so that all of them stop together."""
        training = self._model.training
        found = torch.tensor(evaluation.perplexity(self._model, self._windows, len(self._windows)), dtype=torch.float64)
        self._model.train(training)
        agreed = found.to(next(self._model.parameters()).device)
        ranks.as_first([agreed])
        return float(agreed)
