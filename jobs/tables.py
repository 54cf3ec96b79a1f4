"""The rows. Every time in them is the database's own clock."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from jobs.states import LEASED, Status

Json = dict[str, Any]

DEFAULT_PROJECT = "proj_default"  # of the migrations' making; the key of the environment belongs to it


class Table(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "uq": "%(table_name)s_%(column_0_name)s_key",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy's own protocol)
        str: Text,
        datetime: DateTime(timezone=True),
        Json: JSONB(none_as_null=True),
    }


def _one_of(statuses: frozenset[Status]) -> str:
    return "status IN ({})".format(", ".join(f"'{status}'" for status in sorted(statuses)))


class ProjectRow(Table):
    """A tenant: every job and file belongs to one. A limit of NULL is the one of the settings."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    namespace: Mapped[str] = mapped_column(unique=True)  # of its models, where clients name them `namespace/name`
    max_running: Mapped[int | None]  # jobs at once
    max_queued: Mapped[int | None]
    max_storage_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_uploaded_bytes: Mapped[int | None] = mapped_column(BigInteger)
    exceeded: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")  # quotas that refused, until they fit
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class JobRow(Table):
    """A job: what was asked, where it stands, who holds it."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    # What a list is filtered by. The spec keeps what was asked; name and metadata may be changed after that.
    name: Mapped[str | None]
    base_model: Mapped[str]
    metadata_: Mapped[Json] = mapped_column("metadata")
    spec: Mapped[Json]
    traceparent: Mapped[str | None]  # of the request that asked for it
    plan: Mapped[Json | None]  # what will be kept, if it was known when the job was made
    from_checkpoint: Mapped[Json | None]  # another job's, which this one publishes: job_id, number, step

    version: Mapped[int] = mapped_column(server_default="1")  # goes up with each change that a client can see
    status: Mapped[str]
    phase: Mapped[str | None]
    reason: Mapped[str | None]
    progress: Mapped[Json | None]
    progress_at: Mapped[datetime | None]
    result: Mapped[Json | None]
    error: Mapped[Json | None]
    last_seq: Mapped[int] = mapped_column(server_default="0")  # number of the newest event

    priority: Mapped[int] = mapped_column(server_default="0")  # the greater, the sooner
    needed_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of an accelerator, as far as the model could be read
    gpu_class: Mapped[str | None]  # only a worker of this class may have it
    overrides: Mapped[Json] = mapped_column(
        server_default="{}"
    )  # what attempts change in the spec: see `jobs.overrides`
    deadline_at: Mapped[datetime | None]
    max_runtime_seconds: Mapped[int | None]
    not_before: Mapped[datetime | None]  # a job that failed for a while rests until then

    attempt: Mapped[int] = mapped_column(server_default="0")
    first_attempt: Mapped[int] = mapped_column(server_default="1")  # checkpoints of earlier ones were given up
    resumable: Mapped[bool] = mapped_column(server_default="false")  # there is a checkpoint to go on from
    max_attempts: Mapped[int]
    free_attempts: Mapped[int] = mapped_column(server_default="0")  # those that ended through no fault of the job
    lease_token: Mapped[UUID | None]
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    heard_at: Mapped[datetime | None]  # when the engine last said anything; a heartbeat is the supervisor's

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    pause_requested_at: Mapped[datetime | None]
    finish_requested_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(_one_of(frozenset(Status)), name="status"),
        # A leased job without a token, or a token that outlives its lease, would break the fence.
        CheckConstraint(f"({_one_of(LEASED)}) = (lease_token IS NOT NULL)", name="lease"),
        Index("jobs_project_id_created_at_id", "project_id", "created_at", "id"),
        Index("jobs_project_id_status_created_at_id", "project_id", "status", "created_at", "id"),
        Index("jobs_metadata", "metadata", postgresql_using="gin", postgresql_ops={"metadata": "jsonb_path_ops"}),
        Index(
            "jobs_names",
            "name",
            "base_model",
            postgresql_using="gin",
            postgresql_ops={"name": "gin_trgm_ops", "base_model": "gin_trgm_ops"},
        ),
        Index(
            "jobs_claimable", text("priority DESC"), "queued_at", postgresql_where=_one_of(frozenset({Status.QUEUED}))
        ),
        Index("jobs_leased", "lease_expires_at", postgresql_where=_one_of(LEASED)),
    )


class AttemptRow(Table):
    """One worker's try at a job, from its claim to the end of its lease."""

    __tablename__ = "job_attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    worker: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]  # the status that the job had afterwards
    reason: Mapped[str | None]
    phase: Mapped[str | None]  # the last one
    resumed_step: Mapped[int | None]  # of the checkpoint that it went on from
    reached_step: Mapped[int | None]
    error: Mapped[Json | None]  # what it failed with, whether the job was tried again or not

    __table_args__ = (Index("job_attempts_running", "job_id", postgresql_where="ended_at IS NULL"),)


class CheckpointRow(Table):
    """The state of a job after some step, in object storage: the manifest, and each file under the hash of its content.

    Both lie under `jobs/{job}/attempts/{attempt}/checkpoints/`, where checkpoints of one attempt share equal files.
    The first checkpoint of a job that publishes one of another's lies where that one does; its attempt is 0.
    """

    __tablename__ = "checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    step: Mapped[int]
    kind: Mapped[str] = mapped_column(server_default="state")  # what a job can go on from
    run: Mapped[str | None]  # the training run that it interrupts
    sparsity: Mapped[float | None]
    perplexity: Mapped[float | None]  # on a few held-out windows
    is_best: Mapped[bool] = mapped_column(server_default="false")
    bytes: Mapped[int] = mapped_column(BigInteger)
    files: Mapped[Json]  # size and hash by name
    manifest_key: Mapped[str]
    sha256: Mapped[str]  # of the manifest
    origin_job_id: Mapped[str | None]  # which job has written it, if another
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]  # its objects are gone, or are about to go

    __table_args__ = (
        Index("checkpoints_origin_job_id", "origin_job_id", postgresql_where="origin_job_id IS NOT NULL"),
    )

    @property
    def publishable(self) -> bool:
        """Whether something has been removed by then."""
        return bool(self.sparsity)

    def key(self, name: str) -> str:
        """Where the file lies whose content has this hash."""
        return f"{self.manifest_key.rpartition('/')[0]}/{name}"


class WorkerRow(Table):
    """A worker process that has been seen; a process that starts again is another worker."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    gpu_class: Mapped[str | None]
    memory_bytes: Mapped[int] = mapped_column(BigInteger)  # what a job may take
    job_id: Mapped[str | None]  # what it works on
    gpu_used_bytes: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default="{}")  # by GPU of its machine
    fault: Mapped[str | None]  # of its accelerator: it takes no jobs until it is started again
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EventRow(Table):
    """Something that happened to a job. `seq` counts from 1 without gaps."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[str]
    data: Mapped[Json]
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class MetricRow(Table):
    """A measurement of a job at one optimizer step."""

    __tablename__ = "job_metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[float] = mapped_column(Double)


class HoldRow(Table):
    """A content that an attempt is about to publish: it stays in object storage until the job has ended."""

    __tablename__ = "holds"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)

    __table_args__ = (Index("holds_sha256", "sha256"),)


class FileRow(Table):
    """An uploaded file."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index("files_project_id", "project_id"),)


class IdempotencyRow(Table):
    """A request that may be sent again: what the first one made. Gone after a day."""

    __tablename__ = "idempotency_keys"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]  # SHA-256 of the request
    resource_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index("idempotency_keys_created_at", "created_at"),)


class OutboxRow(Table):
    """A doorbell still to be rung: the broker is told of the job after the transaction that wrote this row."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
