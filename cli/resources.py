"""What the service answers with. Fields that a newer service adds are kept, not refused."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from jobs.errors import FieldError
from jobs.states import FINAL, Status


class Resource(BaseModel):
    """An answer; `model_dump` gives back all of it, known fields or not."""

    model_config = ConfigDict(frozen=True, extra="allow")


Item = TypeVar("Item", bound=Resource)


class ListPage(Resource, Generic[Item]):
    """A part of a list; the next one comes after `last_id`."""

    data: tuple[Item, ...]
    has_more: bool = False
    last_id: str | None = None


class Progress(Resource):
    """How far a running job is; what the engine does not know yet is None."""

    percent: float | None = None
    step: int | None = None
    total_steps: int | None = None
    sparsity: float | None = None
    sparsity_target: float | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None


class JobFailure(Resource):
    """Why a job failed."""

    code: str
    message: str
    hint: str | None = None
    phase: str | None = None
    step: int | None = None
    retryable: bool = False


class Job(Resource):
    """One compression job."""

    id: str
    name: str | None = None
    status: Status
    phase: str | None = None
    reason: str | None = None
    progress: Progress | None = None
    attempt: int = 0
    max_attempts: int | None = None
    plan: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    error: JobFailure | None = None
    created_at: datetime
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    config: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.status in FINAL

    @property
    def seconds(self) -> float | None:
        """From the start to the end, once there is an end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


class Waiting(Resource):
    """How a job stands in the queue."""

    waits: bool
    ahead: int = 0
    detail: str = ""


class Event(Resource):
    """Something that happened to a job; `seq` counts up within it."""

    seq: int
    type: str
    at: datetime
    data: Mapping[str, Any] = Field(default_factory=dict)


class Checkpoint(Resource):
    """The state of a job after some step."""

    number: int
    step: int
    sparsity: float | None = None
    perplexity: float | None = None
    is_best: bool = False
    publishable: bool = False
    bytes: int
    created_at: datetime


class CheckpointList(Resource):
    """The newest checkpoints of a job, and its best one."""

    data: tuple[Checkpoint, ...]


class Artifact(Resource):
    """One file of the published model folder."""

    path: str
    bytes: int
    sha256: str


class UploadedFile(Resource):
    """A training text that the service keeps."""

    id: str
    name: str
    bytes: int
    sha256: str


class Problem(Resource):
    """An RFC 9457 problem document."""

    status: int
    title: str = "The request was refused"
    code: str = "unknown"
    detail: str = ""
    hint: str | None = None
    errors: tuple[FieldError, ...] = ()
    request_id: str | None = None


class EventPage(Resource):
    """A part of a job's events."""

    data: tuple[Event, ...]
    has_more: bool = False


class ArtifactList(Resource):
    """All files of a job."""

    data: tuple[Artifact, ...]


class WebhookEndpoint(Resource):
    """An address that is told what happens to jobs."""

    id: str
    url: str
    events: tuple[str, ...]
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    secret: str | None = None  # only when it is made


class WebhookAttempt(Resource):
    """What came of one attempt to deliver a message."""

    status_code: int | None
    seconds: float
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300


class WebhookDelivery(Resource):
    """A message for an endpoint; its log is there when it is asked for alone."""

    id: str
    type: str
    status: str
    attempts: int
    job_id: str | None = None
    created_at: datetime
    log: tuple[WebhookAttempt, ...] = ()
