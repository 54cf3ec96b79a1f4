"""How much is to go, and how the layers share it: what a client may ask for."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jobs.sources import Spec

Allocation = Literal["uniform", "protected", "adaptive", "global"]


class BudgetSpec(Spec):
    """How the layers share what is to go.

    All but `uniform` leave layers of different widths, published as a stock checkpoint in which narrow layers are
    padded with zeros to the widest: exact, but no smaller on disk or quicker than the widest layer makes it. GGUF files
    go without the padding where llama.cpp has an architecture for it, which the plan says.
    """

    allocation: Allocation = Field(
        "uniform",
        description="uniform: every layer keeps as much. "
        "protected: the first tenth of the layers and the last one stay whole, the others share alike, as published. "
        "adaptive: layers that change their input less give more. "
        "global: what matters least per parameter goes, wherever it stands.",
    )
    amplitude: float = Field(
        0.5, ge=0, le=1, description="adaptive: how much more than the mean the least important layer gives."
    )
    min_fraction: float = Field(0.0, ge=0, lt=1, description="Part of its units that every layer keeps at least.")
    heads_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Where little goes, the part of its KV groups that a layer gives, against the part of all its "
        "parameters; 1: both go in proportion, which leaves less of the KV cache. The more goes the nearer both come "
        "to each other. Where the allocation is global, scores decide instead.",
    )
    tensor_parallel: int = Field(
        1, ge=1, le=64, description="The widths that are written can be split evenly over so many devices."
    )

    @model_validator(mode="after")
    def _splits_what_is_known(self) -> Self:
        if self.tensor_parallel > 1 and self.allocation in ("adaptive", "global"):
            raise ValueError(
                f"tensor_parallel needs widths known beforehand; {self.allocation} finds them as it goes: "
                "ask for uniform or protected"
            )
        return self


class ParameterRatio(Spec, title="Ratio of all parameters"):
    """Remove a part of all parameters, embeddings counted."""

    type: Literal["parameter_ratio"]
    ratio: float = Field(gt=0, lt=0.9)


class ParameterCount(Spec, title="Parameters"):
    """Keep this many parameters, embeddings counted."""

    type: Literal["parameters"]
    parameters: int = Field(ge=1)


class WeightBytes(Spec, title="Bytes"):
    """Weight files of at most so many bytes in the dtype that `output.dtype` names."""

    type: Literal["bytes"]
    bytes: int = Field(ge=1)


class PerplexityLimit(Spec, title="Perplexity"):
    """Go on until the held-out perplexity would pass a limit, and keep the last size that does not."""

    type: Literal["perplexity"]
    increase: float = Field(gt=0, le=10, description="0.1: at most 10 % above the untouched model's.")
    largest_ratio: float = Field(0.5, gt=0, lt=0.9, description="Part of the block parameters to remove at most.")
    windows: int = Field(16, ge=1, le=4096, description="Held-out windows to measure on after each cut.")


Target = Annotated[ParameterRatio | ParameterCount | WeightBytes | PerplexityLimit, Field(discriminator="type")]
