"""What all steps of one job share."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from jobs.goals import Goal
from jobs.specs import JobSpec
from worker.engine import base_models, datasets, evaluation, training
from worker.engine.base_models import BaseModel
from worker.engine.measurement import Material
from worker.engine.orders import Orders
from worker.engine.reporter import Reporter
from worker.engine.story import Story
from worker.engine.windows import Windows


@dataclass(frozen=True)
class Inputs:
    """Where the spec's model and text lie, now that they can be reached from this machine."""

    model: base_models.Reachable
    training: datasets.Reachable
    held_out: datasets.Reachable | None
    texts: Mapping[str, datasets.Reachable] = field(default_factory=dict)
    """All texts, by the JSON Pointer of the field that names each."""


@dataclass(frozen=True)
class Job:
    """Its words, its model and text, and where it tells and keeps what it comes to."""

    spec: JobSpec
    base: BaseModel
    tokenizer: PreTrainedTokenizerBase
    training: Windows
    held_out: Windows
    material: Material
    goal: Goal
    work: Path
    reporter: Reporter
    story: Story
    orders: Orders

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are held in while training: bfloat16 if they came so and are multiplied so, else float32."""
        rough = training.uses_bfloat16(self.spec.method.train) and self.base.dtype == torch.bfloat16
        return torch.bfloat16 if rough else torch.float32

    @property
    def output_dtype(self) -> torch.dtype:
        """What the weights are written in."""
        match self.spec.output.dtype:
            case "auto":
                return self.base.dtype
            case "float32":
                return torch.float32
            case "bfloat16":
                return torch.bfloat16
            case "float16":
                return torch.float16

    def perplexity(self, model: PreTrainedModel) -> float:
        """On the held-out text."""
        return evaluation.perplexity(model, self.held_out, self.spec.evaluation.max_windows)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Tells that a phase began, and keeps how long it took.

        Raises:
            Stopped: that was ordered while the phase before went on.
        """
        self.orders.check()
        self.reporter.phase(name)
        start = time.monotonic()
        yield
        self.story.spent(name, time.monotonic() - start)
