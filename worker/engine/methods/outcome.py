"""What a method is given, and what it decided."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedModel

from jobs.goals import Goal
from jobs.shapes import ModelShape
from worker.engine.architectures import Family
from worker.engine.orders import Orders
from worker.engine.perplexity_limit import Walk
from worker.engine.plan import Plan
from worker.engine.reporter import Reporter
from worker.engine.saving import Saving
from worker.engine.windows import Windows


@dataclass(frozen=True, kw_only=True)
class Task:
    """A bare dense model, which the method changes in place, and where to go with it."""

    model: PreTrainedModel
    family: Family
    shape: ModelShape
    goal: Goal
    windows: Windows
    held_out: Windows
    seed: int
    work: Path
    reporter: Reporter
    load_dense: Callable[[], PreTrainedModel]
    """Another copy of the dense model, in its own dtype."""
    saving: Saving | None = None
    orders: Orders = field(default_factory=Orders)


@dataclass(frozen=True)
class Outcome:
    """What is kept; the task's model now has nothing else, and carries its adapters.

    `walk` tells of a limit on perplexity; `ended_early` that the training was told to finish before its last step.
    """

    plan: Plan
    walk: Walk | None = None
    ended_early: bool = False
