"""What a client reads of what a job has measured and said."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app import records


class MetricSeries(BaseModel):
    """One measurement, step by step."""

    model_config = ConfigDict(from_attributes=True)

    key: str
    steps: list[int] = Field(description="Optimizer steps, rising.")
    values: list[float] = Field(description="One for each step.")
    total: int = Field(description="How many points there are, with those that were left out.")


class MetricList(BaseModel):
    """The series of a job, by name; none before its first step."""

    object: Literal["list"] = "list"
    data: list[MetricSeries]


class LogLine(BaseModel):
    """A line of a job's log, or several that came at once."""

    seq: int = Field(description="Number of the event.")
    at: datetime
    attempt: int = Field(description="Which attempt said it, counted from 1.")
    level: str
    message: str

    @classmethod
    def of(cls, line: records.LogLine) -> Self:
        said = line.event.data
        return cls(
            seq=line.event.seq,
            at=line.event.at,
            attempt=line.attempt,
            level=str(said.get("level", "info")),
            message=str(said.get("message", "")),
        )


class LogTail(BaseModel):
    """The end of a log."""

    object: Literal["list"] = "list"
    data: list[LogLine]
