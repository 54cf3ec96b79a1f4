"""Rows whose time is over, a batch at a time so that no lock is held for long. Never commits."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Result, Select, delete, func, literal, select, tuple_, update
from sqlalchemy.orm import Session

from jobs import references
from jobs.held_models import HubCopyRow
from jobs.registry_tables import ModelRow
from jobs.settings import Settings
from jobs.states import FINAL
from jobs.tables import CheckpointRow, EventRow, FileRow, HoldRow, JobRow, MetricRow
from jobs.upload_tables import UploadRow
from jobs.webhook_tables import WebhookDeliveryRow

BATCH = 1_000

Step = Callable[[Session], int]


def steps(settings: Settings, *, dry: bool) -> dict[str, Step]:
    """What to do, by what it deletes; each is to be called again until it says 0. Dry ones count all at once."""
    found: dict[str, Step] = {"holds": lambda session: _holds(session, dry=dry)}
    found["models"] = lambda session: _models(session, settings.model_days, dry=dry)
    if settings.checkpoint_days is not None:
        resumable = settings.checkpoint_days
        found["checkpoints"] = lambda session: _checkpoints(session, resumable, dry=dry)
    if settings.history_days is not None:
        days = settings.history_days
        found["events"] = lambda session: _events(session, days, dry=dry)
        found["metrics"] = lambda session: _metrics(session, days, dry=dry)
    if settings.delivery_days is not None:
        kept = settings.delivery_days
        found["deliveries"] = lambda session: _deliveries(session, kept, dry=dry)
    if settings.upload_days is not None:
        unfinished = settings.upload_days
        found["uploads of models"] = lambda session: _uploads(session, unfinished, dry=dry)
    if settings.hub_copy_days is not None:
        idle = settings.hub_copy_days
        found["hub copies"] = lambda session: _hub_copies(session, idle, dry=dry)
    if settings.file_days is not None:
        unused = settings.file_days
        found["files"] = lambda session: _files(session, unused, dry=dry)
    return found


def _events(session: Session, days: float, *, dry: bool) -> int:
    key = tuple_(EventRow.job_id, EventRow.seq)
    query = select(EventRow.job_id, EventRow.seq).join(JobRow, JobRow.id == EventRow.job_id).where(_ended(days))
    if dry:
        return _count(session, query)
    return _affected(session.execute(delete(EventRow).where(key.in_(query.limit(BATCH)))))


def _metrics(session: Session, days: float, *, dry: bool) -> int:
    columns = (MetricRow.job_id, MetricRow.key, MetricRow.step)
    query = select(*columns).join(JobRow, JobRow.id == MetricRow.job_id).where(_ended(days))
    if dry:
        return _count(session, query)
    return _affected(session.execute(delete(MetricRow).where(tuple_(*columns).in_(query.limit(BATCH)))))


def _models(session: Session, days: float, *, dry: bool) -> int:
    """Deleted ones that can be restored no more; what only they have in object storage goes with the next sweep."""
    query = select(ModelRow.id).where(ModelRow.deleted_at <= func.now() - timedelta(days=days))
    if dry:
        return _count(session, query)
    return _affected(session.execute(delete(ModelRow).where(ModelRow.id.in_(query.limit(BATCH)))))


def _deliveries(session: Session, days: float, *, dry: bool) -> int:
    """Pending ones have no end, and stay."""
    query = select(WebhookDeliveryRow.id).where(WebhookDeliveryRow.ended_at < func.now() - timedelta(days=days))
    if dry:
        return _count(session, query)
    return _affected(session.execute(delete(WebhookDeliveryRow).where(WebhookDeliveryRow.id.in_(query.limit(BATCH)))))


def _files(session: Session, days: float, *, dry: bool) -> int:
    """Files that no job has named since; their bytes go with the next sweep."""
    since = func.now() - timedelta(days=days)
    lately = (JobRow.status.not_in(FINAL)) | (JobRow.finished_at >= since)
    used = select(literal(1)).where(JobRow.project_id == FileRow.project_id, lately, references.names(FileRow.id))
    query = select(FileRow.id).where(FileRow.created_at < since, ~used.exists())
    if dry:
        return _count(session, query)
    locked = session.scalars(query.limit(BATCH).with_for_update(skip_locked=True)).all()
    # Asked again under the lock: a job that was sent meanwhile is seen only by a statement that begins after it.
    return _affected(session.execute(delete(FileRow).where(FileRow.id.in_(locked), ~used.exists())))


def _uploads(session: Session, days: float, *, dry: bool) -> int:
    """Those that nobody has gone on with, or made a version of, since; what versions have of them stays."""
    query = select(UploadRow.id).where(UploadRow.touched_at < func.now() - timedelta(days=days))
    if dry:
        return _count(session, query)
    return _affected(session.execute(delete(UploadRow).where(UploadRow.id.in_(query.limit(BATCH)))))


def _hub_copies(session: Session, days: float, *, dry: bool) -> int:
    """Copies that no job has used since; their bytes go with the next sweep, and the hub is asked again."""
    query = select(HubCopyRow.id, HubCopyRow.commit).where(HubCopyRow.used_at < func.now() - timedelta(days=days))
    if dry:
        return _count(session, query)
    key = tuple_(HubCopyRow.id, HubCopyRow.commit)
    return _affected(session.execute(delete(HubCopyRow).where(key.in_(query.limit(BATCH)))))


def _checkpoints(session: Session, days: float, *, dry: bool) -> int:
    """Nothing goes on from them any more; their bytes go with the next sweep. The rows tell that they were there."""
    query = (
        select(CheckpointRow.job_id, CheckpointRow.number)
        .join(JobRow, JobRow.id == CheckpointRow.job_id)
        .where(CheckpointRow.deleted_at.is_(None), _ended(days))
    )
    if dry:
        return _count(session, query)
    # With the job's lock: nobody resumes it at this moment.
    locked = session.execute(query.limit(BATCH).with_for_update(of=JobRow, skip_locked=True)).all()
    jobs = {job_id for job_id, _ in locked}
    session.execute(update(JobRow).where(JobRow.id.in_(jobs)).values(resumable=False, version=JobRow.version + 1))
    key = tuple_(CheckpointRow.job_id, CheckpointRow.number)
    return _affected(session.execute(update(CheckpointRow).where(key.in_(locked)).values(deleted_at=func.now())))


def _holds(session: Session, *, dry: bool) -> int:
    query = select(HoldRow.job_id, HoldRow.sha256).join(JobRow, JobRow.id == HoldRow.job_id).where(_ended(1))
    if dry:
        return _count(session, query)
    key = tuple_(HoldRow.job_id, HoldRow.sha256)
    return _affected(session.execute(delete(HoldRow).where(key.in_(query.limit(BATCH)))))


def _ended(days: float) -> ColumnElement[bool]:
    return (JobRow.status.in_(FINAL)) & (JobRow.finished_at < func.now() - timedelta(days=days))


def _count(session: Session, query: Select[*tuple[Any, ...]]) -> int:
    return session.scalars(select(func.count()).select_from(query.subquery())).one()


def _affected(result: Result[Any]) -> int:
    assert isinstance(result, CursorResult)
    return result.rowcount
