"""What a client reads back."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.attempts import lost_steps
from app.checkpoint_schemas import FromCheckpoint
from app.keyset import ListPage
from app.verbs import possible
from jobs.outline import Plan
from jobs.registry_tables import RevisionFileRow
from jobs.specs import PRIORITIES, Priority
from jobs.states import Status, Verb
from jobs.tables import AttemptRow, EventRow, FileRow, JobRow

JOBS = "/v1/compression/jobs"


class Progress(BaseModel):
    """How far a running job is."""

    model_config = ConfigDict(extra="ignore")

    percent: float | None = None
    step: int | None = None
    total_steps: int | None = None
    sparsity: float | None = Field(None, description="Removed part of the block parameters, now.")
    sparsity_target: float | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None
    updated_at: datetime | None = None


class Urls(BaseModel):
    """Where to go on from here, relative to the service's address."""

    self: str
    events: str
    stream: str
    metrics: str
    logs: str
    artifacts: str
    attempts: str
    checkpoints: str
    waiting: str
    recipe: str
    report: str
    layers: str
    cancel: str
    pause: str
    resume: str
    finish: str
    retry: str

    @classmethod
    def of(cls, job_id: str) -> Self:
        here = job_url(job_id)
        return cls(self=here, **{name: f"{here}/{name}" for name in cls.model_fields if name != "self"})


class Job(BaseModel):
    """One compression job: what was asked, and where it stands."""

    object: Literal["compression.job"] = "compression.job"
    id: str
    version: int = Field(description="Goes up with each change.")
    name: str | None
    status: Status
    phase: str | None
    reason: str | None = Field(description="Why the job stands where it stands, if that is not the usual way.")
    allowed: list[Verb] = Field(description="What may be asked of the job as it stands.")
    priority: Priority
    progress: Progress | None
    attempt: int
    max_attempts: int
    plan: Plan | None = Field(description="What will be kept, if the model could be read when it was asked for.")
    from_checkpoint: FromCheckpoint | None = Field(description="What the job was made to publish, if it was.")
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    pause_requested_at: datetime | None
    finish_requested_at: datetime | None
    not_before: datetime | None = Field(description="A job that failed for a while rests until then.")
    overrides: dict[str, Any] = Field(description="What attempts do differently from the config, to get through.")
    urls: Urls
    config: dict[str, Any] = Field(description="The request, with every default filled in.")
    metadata: dict[str, str]

    @classmethod
    def of(cls, row: JobRow) -> Self:
        progress = None if row.progress is None else Progress(**{**row.progress, "updated_at": row.progress_at})
        return cls(
            id=row.id,
            version=row.version,
            name=row.name,
            status=Status(row.status),
            phase=row.phase,
            reason=row.reason,
            allowed=list(possible(row)),
            priority=next(name for name, value in PRIORITIES.items() if value == row.priority),
            progress=progress,
            attempt=row.attempt,
            max_attempts=row.max_attempts,
            plan=None if row.plan is None else Plan.model_validate(row.plan),
            from_checkpoint=None if row.from_checkpoint is None else FromCheckpoint(**row.from_checkpoint),
            result=row.result,
            error=row.error,
            created_at=row.created_at,
            queued_at=row.queued_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            cancel_requested_at=row.cancel_requested_at,
            pause_requested_at=row.pause_requested_at,
            finish_requested_at=row.finish_requested_at,
            not_before=row.not_before,
            overrides=row.overrides,
            urls=Urls.of(row.id),
            config=row.spec,
            metadata=row.metadata_,
        )


class Attempt(BaseModel):
    """One worker's try at a job."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: Status | None = Field(description="Where the job stood afterwards.")
    reason: str | None
    phase: str | None = Field(description="The last one.")
    resumed_step: int | None = Field(description="Of the checkpoint that it went on from; null if it began anew.")
    reached_step: int | None
    lost_steps: int | None = Field(None, description="Steps of it that were taken again; null while none followed.")
    error: dict[str, Any] | None = Field(description="What it failed with, whether the job was tried again or not.")


class AttemptList(BaseModel):
    """The workers' tries at a job."""

    object: Literal["list"] = "list"
    data: list[Attempt]

    @classmethod
    def of(cls, rows: list[AttemptRow]) -> Self:
        lost = lost_steps(rows)
        data = [Attempt.model_validate(row) for row in rows]
        return cls(data=[one.model_copy(update={"lost_steps": lost.get(one.number)}) for one in data])


class JobList(ListPage[Job]):
    """A page of jobs; the Link header leads to the next."""

    has_more: bool = Field(description="Whether the list goes on in the direction asked for.")
    total: int | None = Field(None, description="With include=total: how many there are, from 10,000 on about.")


class Event(BaseModel):
    """Something that happened to a job."""

    model_config = ConfigDict(from_attributes=True)

    seq: int = Field(description="Counts from 1 within the job, without gaps.")
    type: str
    at: datetime
    data: dict[str, Any]


class EventList(BaseModel):
    """Events in their order; ask again with `after` = the last `seq`."""

    object: Literal["list"] = "list"
    data: list[Event]
    has_more: bool

    @classmethod
    def of(cls, rows: list[EventRow], limit: int) -> Self:
        return cls(data=[Event.model_validate(row) for row in rows[:limit]], has_more=len(rows) > limit)


class Artifact(BaseModel):
    """A published file of a job."""

    model_config = ConfigDict(from_attributes=True)

    path: str
    bytes: int
    sha256: str


class ArtifactList(BaseModel):
    """The published files of a job: those of its revision. None before it has succeeded."""

    object: Literal["list"] = "list"
    data: list[Artifact]

    @classmethod
    def of(cls, rows: list[RevisionFileRow]) -> Self:
        return cls(data=[Artifact.model_validate(row) for row in rows])


class File(BaseModel):
    """An uploaded training text."""

    model_config = ConfigDict(from_attributes=True)

    object: Literal["file"] = "file"
    id: str
    name: str
    bytes: int
    sha256: str
    created_at: datetime

    @classmethod
    def of(cls, row: FileRow) -> Self:
        return cls.model_validate(row)


class Method(BaseModel):
    """A way to make a model smaller, and what can be asked of it."""

    type: str
    title: str
    description: str
    schema_: dict[str, Any] = Field(alias="schema", description="JSON Schema of `method` in a job.")


class MethodList(BaseModel):
    """All methods."""

    object: Literal["list"] = "list"
    data: list[Method]


class Health(BaseModel):
    """The service answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The service can do its work, perhaps not all of it."""

    status: Literal["ok", "degraded"]
    degraded: list[str] = []
    details: dict[str, str] = Field({}, description="What is wrong with each, and what follows.")


def job_url(job_id: str) -> str:
    """Where a job is read."""
    return f"{JOBS}/{job_id}"
