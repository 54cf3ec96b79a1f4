"""One run of the real Trainer on the small model, with what it left."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs import goals
from jobs.specs import CheckpointSpec, JobSpec, LoraPruneSpec
from worker.engine import base_models, merging, quantised, ranks, sharded, story
from worker.engine.architectures import family
from worker.engine.checkpoints import Checkpoints
from worker.engine.history import History
from worker.engine.identity import Identity
from worker.engine.methods import lora_prune
from worker.engine.methods.outcome import Task
from worker.engine.orders import Orders
from worker.engine.perplexity_limit import Walk
from worker.engine.plan import Plan
from worker.engine.reporter import Reporter
from worker.engine.windows import Windows


@dataclass
class Run:
    """What a run came to."""

    plan: Plan
    history: History
    state: dict[str, Tensor]
    events: list[dict[str, Any]]
    walk: Walk | None
    ended_early: bool

    @property
    def losses(self) -> list[float]:
        """Of every step."""
        return [step.loss for step in self.history.steps]


def spec_of(**fields: Any) -> LoraPruneSpec:
    """Twelve steps, without dropout, which draws as many numbers as there are channels."""
    train = {"steps": 12, "batch_size": 4, "sequence_length": 32, "learning_rate": 3e-3, "precision": "float32"}
    settings: dict[str, Any] = {
        "type": "lora_prune",
        "ratio": 0.4,
        "round_ffn_to": 4,
        "lora": {"dropout": 0.0, "norms": True},
        "train": train | fields.pop("train", {}),
        "schedule": {"warmup_fraction": 0.1, "cooldown_fraction": 0.5, "prune_every_steps": 2}
        | fields.pop("schedule", {}),
    }
    return LoraPruneSpec.model_validate(settings | fields)


def job_of(method: LoraPruneSpec) -> JobSpec:
    """A job by this method; neither its model nor its text is ever read."""
    nowhere = {"source": "local", "path": "/nowhere"}
    return JobSpec.model_validate({"base_model": nowhere, "dataset": nowhere, "method": method.model_dump()})


def text(base: base_models.BaseModel, count: int = 32, length: int = 32) -> Windows:
    """Windows of random tokens: nothing to learn but their order, which is all that these tests need."""
    ids_NT = torch.randint(base.shape.vocab, (count, length), generator=torch.Generator().manual_seed(5))
    return Windows(ids_NT.int(), ids_NT.int())


class Stopped(Exception):
    """As if the process had ended here."""


def prune(
    model_folder: Path,
    spec: LoraPruneSpec,
    work: Path,
    *,
    windows: Windows | None = None,
    checkpoints: Path | None = None,
    every: int | None = None,
    every_minutes: float | None = None,
    stop_after: int | None = None,
    orders: Orders | None = None,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Run:
    """Prune the model in `model_folder` and merge.

    Args:
        windows: to train on and to hold out; random ones unless given.
        checkpoints: a folder for them; what it holds is gone on from.
        every, every_minutes: how often there is a checkpoint.
        stop_after: the step after which the run is `Stopped`.
    """
    base = base_models.open_folder(model_folder)
    shape = base.shape
    events: list[dict[str, Any]] = []

    def emit(event: dict[str, Any]) -> None:
        events.append(event)
        on_event(event)
        if stop_after is not None and event.get("step") == stop_after + 1:
            raise Stopped

    reporter = Reporter(emit)
    kept = (
        None if checkpoints is None else Checkpoints(checkpoints, Identity({"spec": {}, "base_model": "", "data": ""}))
    )
    told = story.opened(kept, reporter, CheckpointSpec(every_steps=every, every_minutes=every_minutes))
    reporter.training(spec.train.steps or 1, spec.ratio or 0)
    windows = windows or text(base)
    model = base.load(torch.float32)
    if spec.train.shard_base:
        sharded.shard(model, family(shape), torch.device("cpu"))
    if spec.train.base_precision != "full":
        quantised.quantise(model, family(shape), spec.train.base_precision, torch.device("cpu"))
    outcome = lora_prune.run(
        Task(
            model=model,
            family=family(shape),
            shape=shape,
            goal=goals.goal(shape, job_of(spec)),
            windows=windows,
            held_out=windows,
            seed=0,
            work=work,
            reporter=reporter,
            load_dense=lambda: base.load(torch.float32),
            saving=told.saving("pruning"),
            orders=orders or Orders(),
        ),
        spec,
    )
    reporter.phase("merging")
    sharded.reunite(model)
    is_whole = ranks.is_first() or not spec.train.shard_base
    state = merging.merge(model, family(shape), windows.ids_NT[:2].long()).state if is_whole else {}
    return Run(outcome.plan, reporter.history, state, events, outcome.walk, outcome.ended_early)
