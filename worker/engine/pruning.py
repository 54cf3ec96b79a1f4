"""Pruning while training: scores at every step, units cut away at the events of the schedule."""

import math
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs import errors, widths
from jobs.shapes import ModelShape
from jobs.specs import LoraPruneSpec
from jobs.widths import Layout
from worker.engine import compensated_cut, first_scores, plan, pruning_state, schedule, surgery, training
from worker.engine.architectures import Family
from worker.engine.plan import Plan
from worker.engine.pruning_state import PruningState
from worker.engine.reporter import Reporter
from worker.engine.scores.running_average import RunningAverage
from worker.engine.scores.scorer import Scorer
from worker.engine.windows import Windows


class IterativePruning(TrainerCallback):
    """Narrows `plan` step by step to `target` while the Trainer runs; it is exactly there after the last event."""

    def __init__(
        self,
        model: PreTrainedModel,
        family: Family,
        shape: ModelShape,
        target: Layout,
        spec: LoraPruneSpec,
        scorer: Scorer,
        calibration: Windows,
        reporter: Reporter,
    ) -> None:
        """`calibration`: text to score and to reconstruct with, shuffled; as much of it is used as a cut needs."""
        self.plan = Plan.dense(shape)
        self._present = self.plan  # what the model physically has: more than the plan where the cut comes later
        self._model = model
        self._family = family
        self._shape = shape
        self._target = target
        self._spec = spec
        self._calibration = calibration
        self._reporter = reporter
        self._average = RunningAverage(spec.score.ema)
        self._scorer = scorer

    def score_untouched(self) -> None:
        """Score the untouched model, so that the first event has more to go by than the steps before it."""
        windows = self._calibration.first(self._spec.score.calibration_windows)
        first_scores.add(self._average, self._model.train(), self._scorer, self.plan, windows, self._spec.train)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A run that goes on after the last event has nothing to score."""
        if state.global_step >= schedule.last_event(state.max_steps, self._spec.schedule):
            self._scorer.close()
            self._reporter.phase("recovering")

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: torch.optim.Optimizer | None = None,
        **_: Any,
    ) -> None:
        """Score with what this step told, then cut if it is time."""
        assert optimizer is not None
        step = state.global_step + 1
        last = schedule.last_event(state.max_steps, self._spec.schedule)
        if step > last:
            return
        self._average.add(plan.restrict(self._scorer.take(self._present), self._present, self.plan))
        if schedule.is_event(step, state.max_steps, self._spec.schedule):
            fraction = schedule.fraction(step, state.max_steps, self._spec.schedule)
            multiple = self._spec.round_ffn_to
            kept = tuple(widths.between(self._shape, layer, fraction, round_ffn_to=multiple) for layer in self._target)
            if kept != self.plan.layout:
                self._remove(kept, optimizer, for_real=self._spec.schedule.cut == "every_event")
        if step == last:
            if self._spec.schedule.cut == "last_event":
                self._cut(optimizer)
            self._scorer.close()
            self._reporter.phase("recovering")

    def _remove(self, kept: Layout, optimizer: torch.optim.Optimizer, *, for_real: bool) -> None:
        self._reporter.phase("pruning")
        before, self.plan = self.plan, plan.narrow(self.plan, self._average.value(), kept)
        case = self._model, self._family, self._shape, self._present, self.plan, optimizer
        if self._spec.reconstruction.enabled:
            ids_NT = self._calibration.ids_NT[: self._windows_for(before.layout)]
            remove = surgery.cut_block if for_real else surgery.silence_block
            bfloat16 = training.uses_bfloat16(self._spec.train)
            aim = self._spec.reconstruction.aim
            compensated_cut.cut(*case, ids_NT, bfloat16=bfloat16, remove=remove, aim=aim)
        elif for_real:
            surgery.cut(*case)
        else:
            surgery.silence(*case)
        self._present = self.plan if for_real else plan.only_layers(self._present, self.plan)
        self._average.keep(before, self.plan)
        self._reporter.pruned(kept, widths.ratio(self._shape, kept))

    def _cut(self, optimizer: torch.optim.Optimizer | None) -> None:
        """What was silenced leaves."""
        surgery.cut(self._model, self._family, self._shape, self._present, self.plan, optimizer)
        self._present = self.plan

    def _windows_for(self, layout: Layout) -> int:
        """How many windows a least-squares solve over so many channels needs."""
        widest = widths.widest(layout)
        columns = max(widest.ffn, widest.kv_groups * self._shape.group * self._shape.head_dim)
        tokens = columns * self._spec.reconstruction.tokens_per_channel
        return math.ceil(tokens / self._calibration.ids_NT.shape[1])

    def save(self, folder: Path) -> None:
        """Add to a checkpoint what a resumed run needs."""
        changed = self._spec.reconstruction.enabled and self.plan != Plan.dense(self._shape)
        mended = dict(pruning_state.gate_weights(self._model, self._family)) if changed else {}
        PruningState(self.plan, self._present, self._average.state(), mended).write(folder)

    def restore(self, folder: Path) -> None:
        """Bring the untouched model, but for its adapters, to where `save` found it."""
        state = PruningState.read(folder)
        state.impose(self._model, self._family, self._shape)
        self.plan, self._present = state.plan, state.present
        self._average.restore(state.average, self._model.device)
        if self.plan != Plan.dense(self._shape):
            self._reporter.phase("pruning")

    def finished(self) -> Plan:
        """The final plan, which the model now physically is.

        Raises:
            TargetUnreachable: training ended before the last event.
        """
        if self.plan.layout != self._target:
            raise errors.TargetUnreachable(f"Training ended at {self.plan.layout}, before {self._target} was reached.")
        self._cut(None)
        return self.plan
