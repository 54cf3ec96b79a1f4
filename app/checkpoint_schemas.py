"""What a client reads of the checkpoints of a job."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from jobs.tables import CheckpointRow


class FromCheckpoint(BaseModel):
    """A checkpoint of another job."""

    job_id: str
    number: int
    step: int


class Checkpoint(BaseModel):
    """The state of a job after some step, from which it can go on."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    attempt: int = Field(description="The one that left it.")
    step: int = Field(description="Optimizer steps until then, in all training runs.")
    kind: str = Field(description="`state`: a job can go on from it, but it is no model to be loaded.")
    run: str | None = Field(description="The training run that it interrupts; null between runs.")
    sparsity: float | None = Field(description="Removed part of the block parameters.")
    perplexity: float | None = Field(description="On a few held-out windows, if it was taken.")
    is_best: bool = Field(description="Of those as small as any, the one with the lowest perplexity.")
    publishable: bool = Field(description="Whether something has been removed by then, so that it can be published.")
    bytes: int
    created_at: datetime


class CheckpointList(BaseModel):
    """What a job can go on from: the newest three, and the best one."""

    object: Literal["list"] = "list"
    data: list[Checkpoint]

    @classmethod
    def of(cls, rows: list[CheckpointRow]) -> Self:
        return cls(data=[Checkpoint.model_validate(row) for row in rows])
