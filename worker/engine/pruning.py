"""Pruning while training: scores at every step, units removed at the events of the schedule."""

from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs import errors, widths
from jobs.shapes import ModelShape
from jobs.specs import LoraPruneSpec
from jobs.widths import Widths
from worker.engine import adapters, plan, schedule
from worker.engine.architectures import Family, Kind
from worker.engine.masks import Masks
from worker.engine.plan import Plan
from worker.engine.reporter import Reporter
from worker.engine.scores import RunningAverage, layer_scores


class IterativePruning(TrainerCallback):
    """Narrows `plan` step by step to `target` while the Trainer runs; it is exactly there after the last event."""

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        shape: ModelShape,
        masks: Masks,
        target: Widths,
        spec: LoraPruneSpec,
        reporter: Reporter,
    ) -> None:
        self.plan = Plan.dense(shape)
        self._model = model
        self._family = family
        self._shape = shape
        self._masks = masks
        self._target = target
        self._spec = spec
        self._reporter = reporter
        self._average: RunningAverage | None = None

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Score with the gradients of this step, then remove if it is time.

        Gradients may have been clipped before: a common factor drops out, since each matrix's scores are normalised.
        """
        step = state.global_step + 1
        if step > schedule.last_event(state.max_steps, self._spec.schedule):
            return
        average = self._score()
        if schedule.is_event(step, state.max_steps, self._spec.schedule):
            self._prune(average.value(), step, schedule.fraction(step, state.max_steps, self._spec.schedule))

    def _score(self) -> RunningAverage:
        per_layer = [
            layer_scores(adapters.read(block, self._family), self._shape, norm=self._spec.score.norm)
            for block in self._family.layers(self._model)
        ]
        step_scores = {kind: torch.stack([scores[kind] for scores in per_layer]) for kind in Kind}
        if self._average is None:
            self._average = RunningAverage(self._shape, self._spec.score.ema, step_scores[Kind.KV_GROUP].device)
        self._average.add(step_scores)
        return self._average

    def _prune(self, scores: plan.Scores, step: int, fraction: float) -> None:
        self._reporter.phase("pruning")
        self.plan = plan.narrow(self.plan, scores, widths.between(self._shape, self._target, fraction))
        self._masks.apply(self.plan)
        kept = self.plan.widths
        self._reporter.pruned(step, kept, widths.ratio(self._shape, kept))
        if kept == self._target:
            self._reporter.phase("recovering")

    def finished(self) -> Plan:
        """The final plan.

        Raises:
            TargetUnreachable: training ended before the last event.
        """
        if self.plan.widths != self._target:
            raise errors.TargetUnreachable(f"Training ended at {self.plan.widths}, before {self._target} was reached.")
        return self.plan
