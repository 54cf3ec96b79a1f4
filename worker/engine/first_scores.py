"""Scores of the untouched model, before the first step: units can then go early, and most steps are left to recover."""

from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from jobs.specs import TrainSpec
from worker.engine import training
from worker.engine.plan import Plan
from worker.engine.scores.running_average import RunningAverage
from worker.engine.scores.scorer import Scorer
from worker.engine.windows import Windows


def add(
    average: RunningAverage, model: PreTrainedModel, scorer: Scorer, plan: Plan, windows: Windows, spec: TrainSpec
) -> None:
    """Take in what each batch of `windows` tells, as if it were a step, but without the step.

    Args:
        model: the bare `...ForCausalLM` with adapters, in training mode; it has no gradients afterwards.
    """
    together = 1 if scorer.one_by_one else spec.batch_size
    for batch in DataLoader(windows, batch_size=together):
        training.add_gradients(model, batch["input_ids"], batch["labels"], spec)
        average.add(scorer.take(plan))
        model.zero_grad()
