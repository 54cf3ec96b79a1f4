"""What happened while the adapters trained, step by step."""

from typing import Literal

from pydantic import BaseModel, Field

REFERENCE = "reference_tuning"
"""The phase in which the dense model is fine-tuned alike; all other steps are those of the model that is pruned."""


class Step(BaseModel):
    """One optimizer step. Steps are counted from 1, through the reference's run and the pruned model's."""

    step: int = Field(description="Number of the step.")
    phase: str = Field(description="What the step was for; `reference_tuning` is the dense model's fine-tuning.")
    loss: float = Field(description="Training loss of the step's batch, nats per token; a `teacher`'s part is in it.")
    sparsity: float = Field(description="Part of the block parameters that was gone after the step.")


class PruneEvent(BaseModel):
    """Units were cut away, before the optimizer took the step."""

    step: int = Field(description="Number of the step.")
    sparsity: float = Field(description="Part of the block parameters that is gone since.")
    layers: int = Field(description="Layers that stay.")
    kv_groups: int = Field(description="KV groups that the widest layer keeps.")
    ffn_channels: int = Field(description="FFN channels that the widest layer keeps.")


class PhaseStart(BaseModel):
    """A part of the job began."""

    phase: str = Field(description="Its name.")
    step: int = Field(description="Optimizer steps done before it.")


class HeldOutPerplexity(BaseModel):
    """Perplexity on the held-out windows, taken along the way."""

    step: int = Field(description="Optimizer steps done before it was taken.")
    model: Literal["dense_finetuned", "pruned"] = Field(description="Of which model.")
    perplexity: float = Field(description="By `perplexity_protocol`.")


class History(BaseModel):
    """The course of a job."""

    steps: list[Step] = Field([], description="Every optimizer step.")
    prunes: list[PruneEvent] = Field([], description="Every cut.")
    phases: list[PhaseStart] = Field([], description="Every phase, in its order.")
    perplexities: list[HeldOutPerplexity] = Field([], description="Held-out perplexities, in the order taken.")

    @property
    def first_step(self) -> int:
        """Steps done before the run in which the model is pruned."""
        return max((step.step for step in self.steps if step.phase == REFERENCE), default=0)

    @property
    def last_step(self) -> int:
        """Steps done in all."""
        return self.steps[-1].step if self.steps else 0
