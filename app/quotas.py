"""How much a project may have, and has."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from jobs import errors, webhooks
from jobs.registry_tables import ModelRow, RevisionFileRow
from jobs.settings import Settings
from jobs.states import LEASED, Status
from jobs.tables import CheckpointRow, FileRow, JobRow, ProjectRow
from jobs.upload_tables import UploadRow

COUNTED = ("max_queued", "max_storage_bytes", "max_uploaded_bytes")  # here; `max_running` is the claim's


@dataclass(frozen=True)
class Quota:
    """A limit, or none, and what is used of it."""

    name: str
    limit: int | None
    used: int

    def require(self, more: int) -> None:
        """
        Raises:
            QuotaExceeded: so much more would be over the limit.
        """
        if self.limit is not None and self.used + more > self.limit:
            raise errors.QuotaExceeded(
                f"The project has used {self.used} of {self.limit} {self.name}.",
                hint="Wait, remove something, or ask an operator for more.",
                quota=self.name,
                limit=self.limit,
                used=self.used,
            )


def of(session: Session, project_id: str, settings: Settings) -> list[Quota]:
    """All quotas of a project."""
    row = session.get_one(ProjectRow, project_id)
    files, artifacts = uploaded_bytes(session, project_id), published_bytes(session, project_id)
    return [
        Quota("running_jobs", _limit(row, settings, "max_running"), count(session, project_id, running())),
        Quota("queued_jobs", _limit(row, settings, "max_queued"), count(session, project_id, queued())),
        Quota("storage_bytes", _limit(row, settings, "max_storage_bytes"), files + artifacts),
        Quota("uploaded_bytes", _limit(row, settings, "max_uploaded_bytes"), files),
    ]


@contextmanager
def told_once(sessions: sessionmaker[Session], project_id: str) -> Iterator[None]:
    """Tell webhooks of a quota that refuses what is done within: once, until what it limits fits again."""
    try:
        yield
    except errors.QuotaExceeded as refusal:
        with sessions.begin() as session:
            crossed = update(ProjectRow).where(
                ProjectRow.id == project_id, ~ProjectRow.exceeded.contains([refusal.quota])
            )
            exceeded = func.array_append(ProjectRow.exceeded, refusal.quota)
            if session.scalars(crossed.values(exceeded=exceeded).returning(ProjectRow.id)).one_or_none():
                webhooks.tell_of_quota(session, project_id, refusal.quota, limit=refusal.limit, used=refusal.used)
        raise


def require_submission(session: Session, project_id: str, settings: Settings) -> None:
    """Whether the project may have one more job. Others that ask wait for the end of this transaction.

    Raises:
        QuotaExceeded: too many jobs wait, or the storage is full.
    """
    row = _locked(session, project_id, settings)
    if (limit := _limit(row, settings, "max_queued")) is not None:
        _require(session, row, Quota("queued_jobs", limit, count(session, project_id, queued())), 1)
    if (limit := _limit(row, settings, "max_storage_bytes")) is not None:
        used = uploaded_bytes(session, project_id) + published_bytes(session, project_id)
        _require(session, row, Quota("storage_bytes", limit, used), 1)


def require_upload(session: Session, project_id: str, settings: Settings, bytes: int) -> None:
    """Whether the project may have one more file. Others that ask wait for the end of this transaction.

    Raises:
        QuotaExceeded: there is no room for so many bytes.
    """
    row = _locked(session, project_id, settings)
    uploads = _limit(row, settings, "max_uploaded_bytes")
    storage = _limit(row, settings, "max_storage_bytes")
    if uploads is None and storage is None:
        return
    used = uploaded_bytes(session, project_id)
    _require(session, row, Quota("uploaded_bytes", uploads, used), bytes)
    if storage is not None:
        _require(session, row, Quota("storage_bytes", storage, used + published_bytes(session, project_id)), bytes)


def _require(session: Session, row: "Row[Any]", quota: Quota, more: int) -> None:
    quota.require(more)
    if quota.name in row.exceeded:
        left = func.array_remove(ProjectRow.exceeded, quota.name)
        session.execute(update(ProjectRow).where(ProjectRow.id == row.id).values(exceeded=left))


def running() -> ColumnElement[bool]:
    return JobRow.status.in_(LEASED)


def queued() -> ColumnElement[bool]:
    return JobRow.status == Status.QUEUED


def count(session: Session, project_id: str, which: ColumnElement[bool]) -> int:
    """How many such jobs the project has."""
    return session.scalars(select(func.count()).where(JobRow.project_id == project_id, which)).one()


def jobs(session: Session, project_id: str) -> dict[Status, int]:
    """How many jobs stand in each status."""
    query = select(JobRow.status, func.count()).where(JobRow.project_id == project_id).group_by(JobRow.status)
    found: dict[str, int] = {status: number for status, number in session.execute(query)}
    return {status: found.get(status, 0) for status in Status}


def uploaded_bytes(session: Session, project_id: str) -> int:
    """Of the files that the project has uploaded, and of the uploads of models, begun or not yet forgotten."""
    total = sum(
        session.scalars(select(func.coalesce(func.sum(row.bytes), 0)).where(row.project_id == project_id)).one()
        for row in (FileRow, UploadRow)
    )
    return int(total)


def published_bytes(session: Session, project_id: str) -> int:
    """Of the files of the project's models; the same content counts once, and what was deleted not at all."""
    contents = (
        select(RevisionFileRow.sha256, RevisionFileRow.bytes)
        .join(ModelRow, ModelRow.id == RevisionFileRow.model_id)
        .where(ModelRow.project_id == project_id, ModelRow.deleted_at.is_(None))
        .distinct()
        .subquery()
    )
    return int(session.scalars(select(func.coalesce(func.sum(contents.c.bytes), 0))).one())


def checkpoint_bytes(session: Session, project_id: str) -> int:
    """Of the checkpoints of the project's jobs. They count against no quota: the service makes and drops them."""
    total = func.coalesce(func.sum(CheckpointRow.bytes), 0)
    query = select(total).join(JobRow, JobRow.id == CheckpointRow.job_id)
    own = CheckpointRow.deleted_at.is_(None) & CheckpointRow.origin_job_id.is_(None)
    return int(session.scalars(query.where(JobRow.project_id == project_id, own)).one())


def _locked(session: Session, project_id: str, settings: Settings) -> "Row[Any]":
    """The project's limits, and if it has any, the right to count against them alone."""
    limits = (getattr(ProjectRow, name) for name in COUNTED)
    query = select(ProjectRow.id, ProjectRow.exceeded, *limits).where(ProjectRow.id == project_id)
    row = session.execute(query).one()
    if any(_limit(row, settings, name) is not None for name in COUNTED):
        row = session.execute(query.with_for_update(key_share=True)).one()
    return row


def _limit(row: "ProjectRow | Row[Any]", settings: Settings, name: str) -> int | None:
    """The project's own limit, or that of the settings."""
    own: int | None = getattr(row, name)
    default: int | None = getattr(settings, f"project_{name}")
    return default if own is None else own
