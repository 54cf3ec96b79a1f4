"""What attempts change in a job's spec without making it another job: how it fits into memory, how boldly it learns."""

from typing import Any

from pydantic import Field

from jobs.sources import Spec
from jobs.tables import Json


class Overrides(Spec):
    """Laid over the spec that the client sent, which itself stays as it was."""

    micro_batch_size: int | None = Field(
        None, ge=1, description="Sequences per forward pass; must divide train.batch_size. The batch stays as it is."
    )
    learning_rate_factor: float | None = Field(
        None, gt=0, le=1, description="What train.learning_rate is multiplied by."
    )


def overridden(spec: Json, overrides: Json) -> Json:
    """The spec of an attempt, as JSON; neither argument is changed."""
    laid = Overrides.model_validate(overrides)
    method: dict[str, Any] = spec["method"]
    train: dict[str, Any] = dict(method["train"])
    if laid.micro_batch_size is not None:
        train["micro_batch_size"] = laid.micro_batch_size
    if laid.learning_rate_factor is not None:
        train["learning_rate"] *= laid.learning_rate_factor
    return {**spec, "method": {**method, "train": train}}
