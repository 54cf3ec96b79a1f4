"""What a client may ask for. Unknown keys and values out of bounds are refused at the door."""

import math
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, ValidationInfo, field_validator, model_validator

from jobs import formats
from jobs.budgets import BudgetSpec, PerplexityLimit, Target, WeightBytes
from jobs.criteria import ScoreSpec
from jobs.evaluations import EvaluationSpec
from jobs.outputs import OutputSpec
from jobs.sources import DataSource, ModelSource, Spec
from jobs.webhook_events import WebhookSpec

UnitKind = Literal["attention_heads", "mlp_channels"]


class LoraSpec(Spec):
    """The low-rank adapters on all seven projections of each block, and what learns beside them."""

    rank: int = Field(8, ge=1, le=512)
    alpha: float = Field(16.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    norms: bool = Field(False, description="The gains (and shifts) of all norms learn too.")
    start: Literal["gradient", "random"] = Field(
        "gradient",
        description="What the A factors read at first: the directions of their inputs in which the loss changes most "
        "(LoRA-GA, arXiv:2407.05000), found on a little text, or random ones. B is zero either way.",
    )


class TrainSpec(Spec):
    """How the adapters are trained."""

    steps: int | None = Field(None, ge=1, le=100_000_000, description="Optimizer steps; takes the place of `epochs`.")
    epochs: float = Field(2.0, gt=0, le=1000)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    learning_rate_schedule: Literal["linear", "cosine", "constant"] = "cosine"
    learning_rate_warmup_steps: int = Field(0, ge=0, description="Steps in which the learning rate rises from zero.")
    learning_rate_warmup_fraction: float = Field(0.0, ge=0, lt=1, description="The same as a part of all steps.")
    b_factor_rate: float = Field(
        4.0,
        ge=1,
        le=64,
        description="The learning rate of the LoRA factors that start at zero, as a multiple of `learning_rate` "
        "(LoRA+, arXiv:2402.12354); 1 trains both factors alike.",
    )
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    batch_size: int = Field(16, ge=1, le=65_536, description="Sequences per optimizer step.")
    micro_batch_size: int | None = Field(None, ge=1, description="Sequences per forward pass; must divide batch_size.")
    sequence_length: int = Field(512, ge=8, le=2**24, description="Tokens per sequence.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="What matrix products are in; the adapters stay in float32. auto: bfloat16 where the device has it "
        "and is quicker by it, as GPUs, processors with AMX, and AMD's since Zen 4 are.",
    )
    base_precision: Literal["full", "int8", "nf4"] = Field(
        "full", description="How the frozen weights are held: as `precision` has them, or in 8 or 4 bits."
    )
    shard_base: bool = Field(
        False,
        description="Whether each of several GPUs holds a part of the frozen weights of all linear layers, and the "
        "whole of one while it is used: for a model that no GPU can hold, as steps are slower. One GPU has all in any "
        "case.",
    )
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def _sharded_as_they_are(self) -> Self:
        if self.shard_base and self.base_precision != "full":
            raise ValueError(f"weights in {self.base_precision} are not sharded: set shard_base or base_precision")
        return self

    @model_validator(mode="after")
    def _one_warmup(self) -> Self:
        if self.learning_rate_warmup_steps and self.learning_rate_warmup_fraction:
            raise ValueError("learning_rate_warmup_steps and learning_rate_warmup_fraction exclude each other")
        return self

    @model_validator(mode="after")
    def _micro_batch_divides(self) -> Self:
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(f"micro_batch_size {self.micro_batch_size} does not divide batch_size {self.batch_size}")
        return self


class ScheduleSpec(Spec):
    """When units are removed: between a warm-up and a cool-down, both fractions of all steps.

    By default all at once, when a tenth of the steps is done: the adapters then know the text, and what is left has the
    other steps to recover in, which are quicker. Several cuts go along a cubic ramp.
    """

    warmup_fraction: float = Field(0.0, ge=0, lt=1)
    cooldown_fraction: float = Field(0.9, ge=0, lt=1)
    prune_every_steps: int | None = Field(
        None, ge=1, description="Optimizer steps from cut to cut; null: one cut, where the cool-down begins."
    )
    cut: Literal["every_event", "last_event", "after_training"] = Field(
        "every_event",
        description="When removed units really leave the model, which makes steps quicker and memory smaller; until "
        "then their weights are zero, with the same result.",
    )

    @model_validator(mode="after")
    def _leaves_a_window(self) -> Self:
        if self.warmup_fraction + self.cooldown_fraction >= 1:
            raise ValueError("warmup_fraction and cooldown_fraction must leave a part of the run to prune in")
        return self


class ReconstructionSpec(Spec):
    """Least-squares correction of o_proj and down_proj at each cut, so that what stays takes over."""

    enabled: bool = True
    aim: Literal["stream", "layer"] = Field(
        "stream",
        description="stream: what stays also makes up for what earlier layers could not, where the architecture adds "
        "the answers of o_proj and down_proj to its stream as they are. layer: each makes up for its own loss only.",
    )
    tokens_per_channel: int = Field(
        32, ge=2, le=256, description="Calibration tokens per input channel; fewer are quicker and less sure."
    )


class DistillationSpec(Spec):
    """Learning what the dense model believes about each next token, beside the token itself."""

    mode: Literal["off", "auto", "online", "cached"] = Field(
        "off",
        description="online: the dense model stays in memory, in its own dtype. cached: its likeliest tokens are noted "
        "on disk before the first cut. Online learns from the whole distribution and needs the memory for it. "
        "auto: online where by the estimate memory allows it, else cached.",
    )
    weight: float = Field(0.5, gt=0, le=1, description="The dense model's part of the loss; the text has the rest.")
    temperature: float = Field(1.0, gt=0, le=20, description="Above 1, what is unlikely counts for more.")
    top_k: int = Field(64, ge=1, le=4096, description="cached: tokens noted; all others count as one more.")


class LoraPruneSpec(Spec, title="LoRAPrune"):
    """LoRA fine-tuning that removes attention heads and FFN channels, at once or step by step (arXiv:2305.18403)."""

    type: Literal["lora_prune"]
    ratio: float | None = Field(None, gt=0, lt=0.9, description="Part of the block parameters to remove.")
    target: Target | None = Field(None, description="What to come to, in the place of `ratio`.")
    budget: BudgetSpec = BudgetSpec()
    layers_to_remove: int = Field(
        0,
        ge=0,
        le=1024,
        description="Whole layers that go at the first prune event, those that change their input least; never the "
        "first or the last. Widths meet the rest of the target.",
    )
    scope: tuple[UnitKind, ...] = Field(("attention_heads", "mlp_channels"), min_length=1)
    round_ffn_to: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="FFN widths are multiples of this; if null 64, or what the formats in output.formats quantise by.",
    )
    lora: LoraSpec = LoraSpec()
    train: TrainSpec = TrainSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    score: ScoreSpec = ScoreSpec()
    reconstruction: ReconstructionSpec = ReconstructionSpec()
    distillation: DistillationSpec = DistillationSpec()

    @property
    def ffn_multiple(self) -> int:
        """What FFN widths are multiples of, so that devices can share them evenly too."""
        return math.lcm(self.round_ffn_to or formats.USUAL_MULTIPLE, self.budget.tensor_parallel)

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.ratio is None) == (self.target is None):
            raise ValueError("give either ratio or target, and not both")
        if isinstance(self.target, WeightBytes) and self.budget.allocation != "uniform":
            raise ValueError("bytes need the uniform allocation: layers that differ are padded, which saves no bytes")
        if isinstance(self.target, PerplexityLimit):
            if self.layers_to_remove:
                raise ValueError("a perplexity target cannot take back whole layers: leave layers_to_remove at 0")
            if self.schedule.cut != "every_event":
                raise ValueError("a perplexity target measures after each cut: schedule.cut must be every_event")
            if self.schedule.prune_every_steps is None:
                raise ValueError("a perplexity target chooses between sizes: give schedule.prune_every_steps, say 10")
            if self.train.base_precision != "full" or self.train.shard_base:
                raise ValueError(
                    "a perplexity target takes a cut back: train.base_precision must be full, and not shard_base"
                )
        return self


MethodSpec = LoraPruneSpec


class CheckpointSpec(Spec):
    """How often the state of a run is kept, so that it can go on from there: whichever of the two comes first.

    It is kept in any case when a training run ends, and when the job is to pause.
    """

    every_steps: int | None = Field(100, ge=1, description="Optimizer steps; null: they do not matter.")
    every_minutes: float | None = Field(10.0, gt=0, description="Minutes of training; null: they do not matter.")


ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a parameter in each dtype that can be written."""


class LimitsSpec(Spec):
    """When a job is given up."""

    max_attempts: int | None = Field(
        None,
        ge=1,
        le=20,
        description="How often it is started before it counts as failed; the service's default if null.",
    )
    max_runtime_seconds: int | None = Field(
        None, ge=1, lt=2**31, description="It fails after so much time on workers, all attempts together."
    )
    deadline: AwareDatetime | None = Field(None, description="It fails if it has not ended by then.")


Priority = Literal["low", "normal", "high"]
PRIORITIES: dict[Priority, int] = {"low": -1, "normal": 0, "high": 1}


JobName = Annotated[str, Field(min_length=1, max_length=200)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]


class JobSpec(Spec):
    """One compression job: which model, which text, which method, what to measure and to publish."""

    name: JobName | None = None
    base_model: ModelSource
    dataset: DataSource
    output: OutputSpec = OutputSpec()  # before the method, which is told what its formats ask for
    method: MethodSpec
    evaluation: EvaluationSpec = EvaluationSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()
    seed: int = Field(42, ge=0, lt=2**32)
    priority: Priority = Field("normal", description="Waiting jobs of a higher priority go first.")
    gpu_class: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")] | None = Field(
        None, description="Only workers of this class may have the job; any worker with enough memory if null."
    )
    limits: LimitsSpec = LimitsSpec()
    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=16)
    # Left out of every copy: a recipe is published, and nobody who runs it again means to tell the same address.
    webhook: WebhookSpec | None = Field(None, exclude=True, description="Whom to tell how this job fares.")

    @field_validator("method")
    @classmethod
    def _rounds_for_its_formats(cls, method: MethodSpec, info: ValidationInfo) -> MethodSpec:
        if method.round_ffn_to is not None or "output" not in info.data:
            return method
        return method.model_copy(update={"round_ffn_to": formats.ffn_multiple(info.data["output"].formats)})

    @model_validator(mode="after")
    def _bytes_have_a_dtype(self) -> Self:
        if isinstance(self.method.target, WeightBytes) and self.output.dtype == "auto":
            raise ValueError("a target in bytes needs output.dtype: how many bytes a parameter takes")
        return self

    @property
    def texts(self) -> dict[str, DataSource]:
        """Every text that the job reads, by the JSON Pointer of the field that names it."""
        asked = self.evaluation
        named = {"/dataset": self.dataset}
        if asked.dataset is not None:
            named["/evaluation/dataset"] = asked.dataset
        for number, protocol in enumerate(asked.perplexities):
            named[f"/evaluation/perplexities/{number}/dataset"] = protocol.dataset
        for number, task in enumerate(asked.multiple_choice):
            named[f"/evaluation/multiple_choice/{number}/dataset"] = task.dataset
        return named
