"""Scores of the untouched model, before the first step: units can then go early, and most steps are left to recover."""

from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from jobs.specs import TrainSpec
from worker.engine import training, training_loss
from worker.engine.plan import Plan
from worker.engine.scores.running_average import RunningAverage
from worker.engine.scores.scorer import Scorer
from worker.engine.windows import IGNORED, Windows


def add(
    average: RunningAverage, model: PreTrainedModel, scorer: Scorer, plan: Plan, windows: Windows, spec: TrainSpec
) -> None:
    """Take in what each batch of `windows` tells, as if it were a step, but without the step.

    Args:
        model: the bare `...ForCausalLM` with adapters, in training mode; it has no gradients afterwards.
    """
    bfloat16 = training.uses_bfloat16(spec)
    for batch in DataLoader(windows, batch_size=spec.batch_size):
        ids_BT, labels_BT = batch["input_ids"].to(model.device), batch["labels"].to(model.device)
        size = training.micro_batch(spec)
        learned = (labels_BT[:, 1:] != IGNORED).sum().clamp_min(1)
        for ids_bT, labels_bT in zip(ids_BT.split(size), labels_BT.split(size), strict=True):
            training_loss.of(model, ids_bT, labels_bT, learned, bfloat16=bfloat16).backward()
        average.add(scorer.take(plan))
        model.zero_grad()
