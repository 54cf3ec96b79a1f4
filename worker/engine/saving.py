"""How a training run keeps its state, and how it ends before its last step if it is told to."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from jobs.specs import CheckpointSpec
from worker.engine import ranks
from worker.engine.orders import Order, Orders


@dataclass(frozen=True)
class Saving:
    """How a run keeps its state.

    `folder` is where the Trainer may write; `commit` takes what it wrote there, with the perplexity on a
    few held-out windows if that was taken, and makes it a checkpoint.
    """

    folder: Path
    often: CheckpointSpec
    commit: Callable[[Path, float | None], None]
    resume_from: Path | None


class Keeper(TrainerCallback):
    """Has the Trainer write its state when it is time, adds ours, and hands it on; obeys orders between two steps.

    The state after the last step is kept too, so that nothing that comes later can cost the training.
    """

    def __init__(
        self,
        saving: Saving | None,
        orders: Orders,
        *,
        add_state: Callable[[Path], None],
        may_finish: Callable[[], bool],
        measure: Callable[[], float | None],
    ) -> None:
        """
        Args:
            add_state: writes into a checkpoint what other callbacks need to go on; called in all processes.
            measure: how well the model predicts held-out text, if that is to be known of a checkpoint; likewise.
            may_finish: whether there is something to publish; until then an order to finish waits.
        """
        self.obeyed: Order | None = None
        self._saving = saving
        self._orders = orders
        self._add_state = add_state
        self._may_finish = may_finish
        self._measure = measure
        self._kept_at = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A run that goes on only to finish takes no further step: its checkpoint is what was asked for."""
        (finish,) = ranks.as_first_says([self._is(Order.FINISH)])
        if finish and 0 < state.global_step < state.max_steps and self._may_finish():
            self.obeyed = Order.FINISH
            control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """After each step, once it is told: what is told belongs to a checkpoint too."""
        if not logs or "loss" not in logs:  # the summary at the end of the run
            return
        # The clock and the file are the first process's, so that all decide alike.
        due, stop, finish = ranks.as_first_says(
            [self._due(state.global_step), self._is(Order.STOP), self._is(Order.FINISH)]
        )
        is_last = state.global_step >= state.max_steps
        if stop:
            self.obeyed = Order.STOP
        elif finish and not is_last and self._may_finish():
            self.obeyed = Order.FINISH
        if self.obeyed:
            control.should_training_stop = True
        control.should_save = self._saving is not None and bool(due or is_last or self.obeyed)

    def _is(self, order: Order) -> bool:
        return self._orders.current() is order

    def _due(self, step: int) -> bool:
        if self._saving is None:
            return False
        steps, minutes = self._saving.often.every_steps, self._saving.often.every_minutes
        by_steps = steps is not None and step % steps == 0
        return by_steps or (minutes is not None and time.monotonic() - self._kept_at >= minutes * 60)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        assert self._saving is not None
        written = self._saving.folder / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        for name in ("training_args.bin", "README.md"):  # a pickle of what the spec says, and an empty form
            (written / name).unlink(missing_ok=True)
        ranks.wait()  # each has written the state of its random numbers
        self._add_state(written)
        perplexity = self._measure()
        if ranks.is_first():
            self._saving.commit(written, perplexity)
        ranks.wait()
        self._kept_at = time.monotonic()
