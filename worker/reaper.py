"""Jobs that nobody works on any more, that say nothing, or whose time is over. Needs no broker.

Whoever still works on such a job is fenced by its move: the next heartbeat finds another status and kills the engine.
"""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, sessionmaker

from jobs import transitions
from jobs.errors import DeadlineExceeded, MaxRuntimeExceeded, PruneryError, Stalled, WorkerLost
from jobs.settings import Settings
from jobs.states import FINAL, LEASED, Status
from jobs.tables import AttemptRow, JobRow, Json
from worker import failures, workers

BATCH = 100

# A step may take long on a large model; an engine is stalled only if it takes so many times as long as the others.
STEPS_OF_SILENCE = 20

_log = logging.getLogger(__name__)


def reap(sessions: sessionmaker[Session], settings: Settings) -> int:
    """Settle what can be settled now; how many jobs that were. Any number of reapers may do so at once."""
    with sessions.begin() as session:
        touched = settle(session, settings)
        workers.forget(session)
    if touched:
        _log.info("%d jobs were put back or ended", touched)
    return touched


def settle(session: Session, settings: Settings) -> int:
    """How many jobs were moved. Jobs that another transaction holds are left for the next time."""
    touched = 0
    for row in _locked(session, *_too_late()):
        touched += _give_up(session, row)
    for row in _locked(session, _stops_slowly(settings)):
        touched += _stop(session, row, {"reason": "slow_to_stop", "worker": row.lease_owner})
    for row in _locked(session, JobRow.status.in_(LEASED), JobRow.lease_expires_at < func.now()):
        touched += _take_back(session, row, settings, _lost(row))
    for row in _locked(session, JobRow.status == Status.RUNNING, JobRow.heard_at < _ago(settings.stall_seconds)):
        if _silence_allowed(row, settings) < _silence(session, row):
            touched += _take_back(session, row, settings, _stalled())
    return touched


def _locked(session: Session, *conditions: ColumnElement[bool]) -> Iterator[JobRow]:
    query = select(JobRow).where(*conditions).order_by(JobRow.id).limit(BATCH).with_for_update(skip_locked=True)
    # A row that an earlier rule moved is read again as it is now.
    yield from session.scalars(query.execution_options(populate_existing=True)).all()


def _too_late() -> tuple[ColumnElement[bool], ...]:
    spent = (
        select(func.sum(func.coalesce(AttemptRow.ended_at, func.now()) - AttemptRow.started_at))
        .where(AttemptRow.job_id == JobRow.id)
        .correlate(JobRow)
        .scalar_subquery()
    )
    overrun = and_(JobRow.status.in_(LEASED), spent > func.make_interval(0, 0, 0, 0, 0, 0, JobRow.max_runtime_seconds))
    return JobRow.status.not_in(FINAL), or_(JobRow.deadline_at < func.now(), overrun)


def _give_up(session: Session, row: JobRow) -> bool:
    if row.status == Status.CANCELLING:
        return _stop(session, row, {"reason": "too_late"})
    overdue = row.deadline_at is not None and session.scalar(select(func.now() > row.deadline_at))
    error: PruneryError
    if overdue:
        error = DeadlineExceeded("The job did not end before its deadline.", hint="Resume it with a later one.")
    else:
        error = MaxRuntimeExceeded(
            f"The job has been at work for its {row.max_runtime_seconds} seconds, all attempts together."
        )
    return _fail(session, row, error)


def _stops_slowly(settings: Settings) -> ColumnElement[bool]:
    return or_(
        and_(JobRow.status == Status.CANCELLING, JobRow.cancel_requested_at < _ago(settings.cancel_patience_seconds)),
        and_(JobRow.status == Status.PAUSING, JobRow.pause_requested_at < _ago(settings.pause_patience_seconds)),
    )


def _stop(session: Session, row: JobRow, data: Json) -> bool:
    """Bring a job that was to stop to where it was to come."""
    if row.status == Status.CANCELLING:
        return transitions.move(session, row.id, Status.CANCELLED, data=data) is not None
    paused = transitions.move(session, row.id, Status.PAUSED, data=data, max_attempts=JobRow.max_attempts + 1)
    return paused is not None


def _take_back(session: Session, row: JobRow, settings: Settings, error: PruneryError) -> bool:
    """Give a job to another worker. That its worker was lost says nothing about the job, unless it happens often."""
    data: Json = {"reason": error.code, "worker": row.lease_owner, "attempt": row.attempt}
    if row.status in (Status.CANCELLING, Status.PAUSING):
        return _stop(session, row, data)
    free = row.free_attempts < settings.max_free_attempts
    if not free and row.attempt >= row.max_attempts:
        return _fail(session, row, error, data)
    moved = transitions.move(
        session,
        row.id,
        Status.QUEUED,
        data=data,
        reason=error.code,
        free_attempts=row.free_attempts + free,
        max_attempts=row.max_attempts + free,
    )
    return moved is not None


def _fail(session: Session, row: JobRow, error: PruneryError, data: Json | None = None) -> bool:
    described = failures.describe(error, phase=row.phase)
    moved = transitions.move(
        session,
        row.id,
        Status.FAILED,
        data={**(data or {}), "error": described},
        error=described,
        reason=error.code,
    )
    return moved is not None


def _lost(row: JobRow) -> PruneryError:
    return WorkerLost(
        f"The worker stopped answering, at last in attempt {row.attempt}.",
        hint="If the worker's machine ran out of memory, ask for less or give it more.",
    )


def _stalled() -> PruneryError:
    return Stalled("The engine said nothing for too long.", hint="The worker's machine may be ill; see its log.")


def _silence(session: Session, row: JobRow) -> float:
    seconds = session.scalar(select(func.extract("epoch", func.now() - row.heard_at)))
    return float(seconds or 0)


def _silence_allowed(row: JobRow, settings: Settings) -> float:
    """Seconds; the engine says how long the steps take that are left."""
    told = row.progress or {}
    left = (told.get("total_steps") or 0) - (told.get("step") or 0)
    step_seconds = (told.get("eta_seconds") or 0) / left if left > 0 else 0
    return max(settings.stall_seconds, STEPS_OF_SILENCE * step_seconds)


def _ago(seconds: float) -> ColumnElement[datetime]:
    return func.now() - timedelta(seconds=seconds)
