"""By what units may be scored."""

from typing import Literal, Self

from pydantic import Field, model_validator

from jobs.sources import Spec

Criterion = Literal[
    "token_fisher",
    "mask_fisher",
    "mask_gradient",
    "lora_fisher",
    "lora_gradient",
    "taylor",
    "activation",
    "fluctuation",
    "magnitude",
    "random",
]
SUMS_OF_ENTRIES = ("lora_gradient", "taylor", "magnitude")
"""The criteria that sum over the entries of matrices."""


class ScoreSpec(Spec):
    """How the importance of a unit is measured while the adapters train."""

    criterion: Criterion = Field(
        "token_fisher",
        description="token_fisher: the exact gradient of each unit's mask at each token, squared and summed. "
        "mask_fisher: the same gradient, summed over a sequence before it is squared. "
        "mask_gradient: the same gradient, summed over all sequences, then |x|. "
        "lora_fisher: the same as mask_fisher, as far as the gradients of the LoRA factors tell it: by sequence before "
        "the first step, by batch in the steps. "
        "lora_gradient: |gradient x weight| of every entry, the gradient estimated from those of the LoRA factors, as "
        "published. "
        "taylor: |gradient x weight| of every entry with the true gradient, per sequence; slow. "
        "activation: root mean square of what the unit hands on. "
        "fluctuation: variance of what the unit hands on, times the squared weights that read it. "
        "magnitude: the unit's weights alone. "
        "random: any order, drawn from the job's seed; what the others have to beat.",
    )
    norm: Literal["l1", "l2"] = Field("l1", description="Where entries are summed: |x|, or x².")
    ema: float = Field(
        0.99, ge=0, lt=1, description="Weight of the past in the running average: 0.99 is about the last 100 steps."
    )
    calibration_windows: int = Field(
        64, ge=0, le=65_536, description="Sequences to score the untouched model with before the first step."
    )

    @model_validator(mode="after")
    def _norm_has_entries(self) -> Self:
        if self.norm == "l2" and self.criterion not in SUMS_OF_ENTRIES:
            raise ValueError(f"norm is for {', '.join(SUMS_OF_ENTRIES)}; {self.criterion} has no entries to sum")
        return self
