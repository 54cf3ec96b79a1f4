"""Pruning while training: scores at every step, units cut away at the events of the schedule."""

from pathlib import Path
from typing import Any

from torch.optim import Optimizer
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs import errors, widths
from jobs.goals import Goal
from jobs.shapes import ModelShape
from jobs.specs import LoraPruneSpec
from worker.engine import first_scores, plan, pruning_state, ranks, schedule
from worker.engine.architectures import Family
from worker.engine.budget import Budget
from worker.engine.cutter import Cutter
from worker.engine.perplexity_limit import PerplexityWatch
from worker.engine.plan import Plan
from worker.engine.pruning_state import PruningState
from worker.engine.reporter import Reporter
from worker.engine.scores.running_average import RunningAverage
from worker.engine.scores.scorer import Scorer
from worker.engine.snapshot import Snapshot
from worker.engine.windows import Windows


class IterativePruning(TrainerCallback):
    """Narrows `plan` while the Trainer runs, at each event: a scorer says what matters, a budget how much may stay, a
    cutter takes the rest out. The goal is met exactly after the last event, unless the watch ends the way before."""

    def __init__(
        self,
        model: PreTrainedModel,
        family: Family,
        shape: ModelShape,
        goal: Goal,
        spec: LoraPruneSpec,
        scorer: Scorer,
        calibration: Windows,
        reporter: Reporter,
        watch: PerplexityWatch | None = None,
    ) -> None:
        """`calibration`: text to score and to reconstruct with, shuffled; as much of it is used as a cut needs."""
        self.plan = Plan.dense(shape)
        self._model = model
        self._family = family
        self._shape = shape
        self._goal = goal
        self._spec = spec
        self._calibration = calibration
        self._reporter = reporter
        self._watch = watch
        self._ended = False
        self._scorer = scorer
        self._average = RunningAverage(spec.score.ema)
        self._cutter = Cutter(model, family, shape, spec, calibration)
        self._budget = Budget(shape, goal, spec, per_parameter=scorer.per_parameter, influences=self._cutter.influence)

    def score_untouched(self) -> None:
        """Score the untouched model, so that the first event has more to go by than the steps before it."""
        windows = self._calibration.first(self._spec.score.calibration_windows)
        first_scores.add(self._average, self._model.train(), self._scorer, self.plan, windows, self._spec.train)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A run that goes on after the last event has nothing to score."""
        refused = self._watch is not None and self._watch.walk.refused is not None
        if refused or state.global_step >= schedule.last_event(state.max_steps, self._spec.schedule):
            self._ended = True
            self._scorer.close()
            self._reporter.phase("recovering")

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Optimizer | None = None,
        **_: Any,
    ) -> None:
        """Score with what this step told, then cut if it is time."""
        assert optimizer is not None
        if self._ended:
            return
        step, steps, ramp = state.global_step + 1, state.max_steps, self._spec.schedule
        present = self._cutter.present
        self._average.add(plan.restrict(self._scorer.take(present), present, self.plan))
        if schedule.is_event(step, steps, ramp):
            self._prune(schedule.fraction(step, steps, ramp), optimizer)
        if self._ended or step >= schedule.last_event(steps, ramp):
            self._end(optimizer)

    def _prune(self, fraction: float, optimizer: Optimizer) -> None:
        before = self._budget.without_layers(self.plan)
        scores = plan.restrict(self._average.value(), self.plan, before)
        layout = self._budget.layout(fraction, before, scores)
        if layout == self.plan.layout:
            return
        self._reporter.phase("pruning")
        after = plan.narrow(before, scores, layout)
        earlier = Snapshot(self._model, self._family, optimizer) if self._watch else None
        self._cutter.remove(self.plan, after, optimizer)
        if self._watch and earlier and not self._watch.allows():
            earlier.restore()
            self._cutter.present = self.plan
            self._ended = True
            self._reporter.log(
                f"At {widths.ratio(self._shape, layout):.1%} the held-out perplexity is {self._watch.walk.refused:.2f}"
                f", above the limit of {self._watch.walk.limit:.2f}: that cut is taken back, and the rest is recovery."
            )
            return
        self._average.keep(self.plan, after)
        self.plan = after
        self._reporter.pruned(layout, widths.ratio(self._shape, layout))

    def _end(self, optimizer: Optimizer) -> None:
        """Nothing more goes; the steps that are left are recovery."""
        self._ended = True
        if self._spec.schedule.cut == "last_event":
            self._cutter.cut(self.plan, optimizer)
        self._scorer.close()
        self._reporter.phase("recovering")

    def save(self, folder: Path) -> None:
        """Add to a checkpoint what a resumed run needs; called in all processes, of which the first one writes."""
        mended = {}
        if self._spec.reconstruction.enabled and self.has_cut():
            for place, tensor in pruning_state.gate_weights(self._model, self._family):
                if ranks.is_first():
                    mended[place] = tensor.detach().cpu()
        walk = self._watch.walk if self._watch else None
        if ranks.is_first():
            PruningState(self.plan, self._cutter.present, self._average.state(), mended, walk).write(folder)

    def restore(self, folder: Path) -> None:
        """Bring the untouched model, but for its adapters, to where `save` found it."""
        state = PruningState.read(folder)
        state.impose(self._model, self._family, self._shape)
        self.plan, self._cutter.present = state.plan, state.present
        self._average.restore(state.average, self._model.device)
        if self._watch and state.walk:
            self._watch.walk = state.walk
        if self.has_cut():
            self._reporter.phase("pruning")

    def has_cut(self) -> bool:
        """Whether any unit has gone."""
        return self.plan != Plan.dense(self._shape)

    def finished(self, *, early: bool = False) -> Plan:
        """The final plan, which the model now physically is.

        Args:
            early: training was told to end where it stood, so that the goal need not be met.
        Raises:
            TargetUnreachable: training ended before the last event, or the first cut was one too many already.
        """
        self._scorer.close()
        if self._watch and self._watch.walk.refused is not None:
            if not self.has_cut():
                raise errors.TargetUnreachable(
                    f"The first cut already took the held-out perplexity from {self._watch.walk.dense:.2f} to "
                    f"{self._watch.walk.refused:.2f}, beyond the limit of {self._watch.walk.limit:.2f}.",
                    hint="Allow a larger increase, or cut in smaller steps: a smaller prune_every_steps.",
                )
        elif not early and not self._budget.met(self.plan):
            raise errors.TargetUnreachable(
                f"Training ended with {widths.ratio(self._shape, self.plan.layout):.4f} of the block parameters gone, "
                f"not {self._goal.ratio(self._shape):.4f} as asked.",
                hint="Ask for another allocation, a smaller min_fraction or round_ffn_to, or a wider scope.",
            )
        self._cutter.cut(self.plan, None)
        return self.plan
