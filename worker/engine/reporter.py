"""What the engine tells while it works: phases, progress, prune events, remarks."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from jobs.widths import Layout
from worker.engine.history import HeldOutPerplexity, History, PhaseStart, PruneEvent, Step

Emit = Callable[[dict[str, object]], None]

TRAINING_SHARE = (10.0, 85.0)
"""Percent of a job done when training starts, and when it ends; the rest is loading, exporting and measuring."""


class Reporter:
    """Turns what happens into messages; where they go is the caller's business."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._total_steps = 0
        self._done_steps = 0
        self._target = 0.0
        self._started, self._started_at = 0.0, 0
        self.current_phase = "preparing"
        self.current_step = 0
        self.sparsity = 0.0
        self.history = History()

    def state(self) -> dict[str, Any]:
        """What was told so far, as plain data."""
        return {"done_steps": self._done_steps, "sparsity": self.sparsity, "history": self.history.model_dump()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._done_steps = self.current_step = state["done_steps"]
        self.sparsity = state["sparsity"]
        self.history = History.model_validate(state["history"])

    def phase(self, name: str) -> None:
        """A new phase began."""
        if name != self.current_phase:
            self.current_phase = name
            self.history.phases.append(PhaseStart(phase=name, step=self._done_steps))
            self._emit({"type": "phase", "phase": name})

    def training(self, total_steps: int, sparsity_target: float) -> None:
        """Training begins, `total_steps` optimizer steps in all runs together."""
        self._total_steps = total_steps
        self._target = sparsity_target
        self._started, self._started_at = time.monotonic(), self._done_steps

    def step(self, loss: float, tokens_per_second: float) -> None:
        """One more optimizer step was taken."""
        self._done_steps += 1
        self.current_step = self._done_steps
        left = self._total_steps - self._done_steps
        per_step = (time.monotonic() - self._started) / (self._done_steps - self._started_at)
        start, end = TRAINING_SHARE
        self.history.steps.append(
            Step(step=self._done_steps, phase=self.current_phase, loss=loss, sparsity=self.sparsity)
        )
        self._emit(
            {
                "type": "progress",
                "step": self._done_steps,
                "total_steps": self._total_steps,
                "percent": round(start + (end - start) * self._done_steps / self._total_steps, 1),
                "sparsity": self.sparsity,
                "sparsity_target": self._target,
                "loss": loss if math.isfinite(loss) else None,
                "tokens_per_second": round(tokens_per_second, 1),
                "eta_seconds": round(left * per_step, 1),
            }
        )

    def pruned(self, layout: Layout, sparsity: float) -> None:
        """Units were removed, within the step that is not yet reported; the widths told are the widest layer's."""
        self.sparsity = sparsity
        event = PruneEvent(
            step=self._done_steps + 1,
            sparsity=sparsity,
            layers=len(layout),
            kv_groups=max(layer.kv_groups for layer in layout),
            ffn_channels=max(layer.ffn for layer in layout),
        )
        self.history.prunes.append(event)
        self._emit({"type": "prune", **event.model_dump()})

    def held_out(self, model: Literal["dense_finetuned", "pruned"], perplexity: float) -> None:
        """The perplexity of a model on the held-out windows was taken."""
        self.history.perplexities.append(HeldOutPerplexity(step=self._done_steps, model=model, perplexity=perplexity))

    def kept(self, commit: str, files: list[dict[str, Any]]) -> None:
        """The base model, at this commit, lies in the service's own object storage now."""
        self._emit({"type": "base_model_kept", "commit": commit, "files": files})

    def log(self, message: str, level: str = "info") -> None:
        """A remark for the job's log."""
        self._emit({"type": "log", "level": level, "message": message})
