"""One run of the real Trainer on the small model, with what it left."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs import widths
from jobs.specs import LoraPruneSpec
from worker.engine import adapters, base_models, scores, training
from worker.engine.architectures import family
from worker.engine.plan import Plan
from worker.engine.pruning import IterativePruning
from worker.engine.reporter import Reporter
from worker.engine.windows import Windows


@dataclass
class Run:
    """What a run came to."""

    plan: Plan
    losses: list[float]
    state: dict[str, Tensor]
    events: list[dict[str, Any]] = field(default_factory=list)


def spec_of(**fields: Any) -> LoraPruneSpec:
    """Twelve steps, without dropout, which draws as many numbers as there are channels."""
    train = {"steps": 12, "batch_size": 4, "sequence_length": 32, "learning_rate": 3e-3, "precision": "float32"}
    settings: dict[str, Any] = {
        "type": "lora_prune",
        "ratio": 0.4,
        "round_ffn_to": 4,
        "lora": {"dropout": 0.0},
        "train": train | fields.pop("train", {}),
        "schedule": {"warmup_fraction": 0.1, "cooldown_fraction": 0.5, "prune_every_steps": 2}
        | fields.pop("schedule", {}),
    }
    return LoraPruneSpec.model_validate(settings | fields)


def text(base: base_models.BaseModel, count: int = 32, length: int = 32) -> Windows:
    """Windows of random tokens: nothing to learn but their order, which is all that these tests need."""
    ids_NT = torch.randint(base.shape.vocab, (count, length), generator=torch.Generator().manual_seed(5))
    return Windows(ids_NT.int(), ids_NT.int())


def prune(model_folder: Path, spec: LoraPruneSpec, work: Path) -> Run:
    """Prune the model in `model_folder` and merge."""
    base = base_models.open_folder(model_folder)
    model, shape = base.load(torch.float32), base.shape
    events: list[dict[str, Any]] = []
    reporter = Reporter(events.append)
    reporter.training(spec.train.steps or 1, spec.ratio)
    windows = text(base)
    adapted = adapters.attach(model, family(shape), spec.lora, seed=0)
    kept = widths.uniform(shape, spec.ratio, scope=spec.scope, round_ffn_to=spec.round_ffn_to)
    target = widths.alike(shape, kept)
    scorer = scores.start(model, family(shape), shape, spec.score, seed=0)
    pruning = IterativePruning(model, family(shape), shape, target, spec, scorer, windows, reporter)
    training.train(adapted, windows, spec.train, seed=0, folder=work, reporter=reporter, callbacks=[pruning])
    plan = pruning.finished()
    losses = [event["loss"] for event in events if event["type"] == "progress"]
    return Run(plan, losses, adapters.merged_state(model, family(shape)), events)
