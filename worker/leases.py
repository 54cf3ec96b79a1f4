"""What a worker does to a job. Only the holder of the lease may: each write names its token, and False says fenced.

A fenced worker has lost the job to another and must write and publish nothing more. Never commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, cast, func, or_, select
from sqlalchemy.orm import Session, aliased

from jobs import transitions
from jobs.overrides import overridden
from jobs.states import LEASED, PHASES, Status
from jobs.tables import AttemptRow, JobRow, Json, ProjectRow
from worker import revisions as published
from worker.retries import Retry
from worker.revisions import NewRevision
from worker.workers import Worker

CLAIMS = 0x70727565  # of an advisory lock
DONE = {"percent": 100.0, "eta_seconds": 0.0}


@dataclass(frozen=True)
class Claim:
    """The right to work on a job, until the lease ends unrenewed."""

    job_id: str
    token: UUID
    attempt: int
    spec: Json
    first_attempt: int
    """What earlier ones have left is not to be used."""
    traceparent: str | None = None
    finish: bool = False
    """It was to finish already when it was claimed."""
    only_publishes: bool = False
    """It has no other beginning than a checkpoint of another job."""


@dataclass(frozen=True)
class Orders:
    """What the holder of a lease is told at each beat."""

    cancel: bool
    pause: bool = False
    finish: bool = False


def claim_next(session: Session, worker: Worker, lease_seconds: float) -> Claim | None:
    """Take the waiting job whose turn it is and that fits the worker; None if there is none.

    A higher priority goes first; then whose project has fewer jobs at work; then who has waited longer.
    """
    # One claim at a time, so that none is counted on what another is about to change.
    session.execute(select(func.pg_advisory_xact_lock(CLAIMS)))
    other = aliased(JobRow)
    at_work = (
        select(func.count())
        .where(other.project_id == JobRow.project_id, other.status.in_(LEASED))
        .correlate(JobRow)
        .scalar_subquery()
    )
    most = func.coalesce(ProjectRow.max_running, cast(worker.project_max_running, Integer))
    turn = (
        select(JobRow.id)
        .join(ProjectRow, ProjectRow.id == JobRow.project_id)
        .where(
            JobRow.status == Status.QUEUED,
            or_(JobRow.not_before.is_(None), JobRow.not_before <= func.now()),
            or_(JobRow.needed_bytes.is_(None), JobRow.needed_bytes <= worker.memory_bytes),
            or_(JobRow.gpu_class.is_(None), JobRow.gpu_class == worker.gpu_class),
            or_(most.is_(None), at_work < most),
        )
        .order_by(JobRow.priority.desc(), at_work, JobRow.queued_at, JobRow.id)
        .limit(1)
        .with_for_update(of=JobRow, skip_locked=True)
    )
    job_id = session.scalar(turn)
    return None if job_id is None else claim(session, job_id, worker.id, lease_seconds)


def claim(session: Session, job_id: str, owner: str, lease_seconds: float) -> Claim | None:
    """Take a queued job; None if it is not queued any more, which makes a doubled doorbell harmless."""
    row = transitions.move(
        session,
        job_id,
        Status.RUNNING,
        data={"worker": owner},
        attempt=JobRow.attempt + 1,
        lease_token=func.gen_random_uuid(),
        lease_owner=owner,
        lease_expires_at=_in(lease_seconds),
        heartbeat_at=func.now(),
        started_at=func.coalesce(JobRow.started_at, func.now()),
        heard_at=func.now(),
        not_before=None,
        phase=PHASES[0],
        reason=None,
        progress=None,
        progress_at=None,
    )
    if row is None or row.lease_token is None:
        return None
    session.add(AttemptRow(job_id=row.id, number=row.attempt, worker=owner, started_at=func.now()))
    return Claim(
        row.id,
        row.lease_token,
        row.attempt,
        overridden(row.spec, row.overrides),
        row.first_attempt,
        row.traceparent,
        finish=_is_to_finish(row),
        only_publishes=row.from_checkpoint is not None,
    )


def beat(session: Session, claim: Claim, lease_seconds: float) -> Orders | None:
    """Renew the lease and hear the orders; None if fenced."""
    row = transitions.change(
        session, claim.job_id, *held(claim), lease_expires_at=_in(lease_seconds), heartbeat_at=func.now()
    )
    if row is None:
        return None
    return Orders(
        cancel=row.status == Status.CANCELLING,
        pause=row.status == Status.PAUSING,
        finish=_is_to_finish(row),
    )


def progress(session: Session, claim: Claim, phase: str, progress: Json | None) -> bool:
    """Say how far the job is; a progress of None leaves the last one."""
    values: dict[str, Any] = {} if progress is None else {"progress": progress, "progress_at": func.now()}
    values |= {"phase": phase, "version": JobRow.version + 1, "heard_at": func.now()}
    row = transitions.change(session, claim.job_id, *held(claim), **values)
    return row is not None


def append(session: Session, claim: Claim, events: Sequence[transitions.Event]) -> bool:
    """Add events in their order."""
    row = transitions.change(session, claim.job_id, *held(claim), events=events, heard_at=func.now())
    return row is not None


def succeed(session: Session, claim: Claim, result: Json, revisions: Sequence[NewRevision]) -> bool:
    """Make the revisions visible and end the job, both or neither."""
    job = session.scalars(select(JobRow).where(JobRow.id == claim.job_id, *held(claim)).with_for_update()).one_or_none()
    if job is None:
        return False
    row = transitions.move(
        session,
        claim.job_id,
        Status.SUCCEEDED,
        *held(claim),
        data={},
        result=result | published.record(session, job, revisions),
        phase=None,
        reason=None,
        progress=JobRow.progress.op("||")(DONE),
    )
    return row is not None


def fail(session: Session, claim: Claim, error: Json, reason: str) -> bool:
    """End the job with an error."""
    row = transitions.move(
        session, claim.job_id, Status.FAILED, *held(claim), data={"error": error}, error=error, reason=reason
    )
    return row is not None


def cancelled(session: Session, claim: Claim) -> bool:
    """End the job as the client asked."""
    row = transitions.move(session, claim.job_id, Status.CANCELLED, *held(claim), data={})
    return row is not None


def requeue(session: Session, claim: Claim, error: Json, retry: Retry) -> bool:
    """Let the job be tried again after an error, or do what else was asked of it."""
    values: dict[str, Any] = {"overrides": JobRow.overrides.op("||")(retry.overrides)}
    if retry.is_free:
        values |= {"max_attempts": JobRow.max_attempts + 1, "free_attempts": JobRow.free_attempts + 1}
    data = {"reason": error["code"], "error": error, "after_seconds": retry.delay_seconds, "overrides": retry.overrides}
    row = transitions.move(
        session,
        claim.job_id,
        Status.QUEUED,
        *held(claim),
        data=data,
        reason=error["code"],
        not_before=_in(retry.delay_seconds),
        **values,
    )
    return row is not None or paused(session, claim) or cancelled(session, claim)


def paused(session: Session, claim: Claim) -> bool:
    """Let the job rest as the client asked; that, too, is no attempt of its own."""
    row = transitions.move(
        session, claim.job_id, Status.PAUSED, *held(claim), data={}, max_attempts=JobRow.max_attempts + 1
    )
    return row is not None


def release(session: Session, claim: Claim, reason: str) -> bool:
    """Give the job back to the queue, or do what else was asked of it.

    The attempt does not count: that a machine is emptied says nothing about the job.
    """
    row = transitions.move(
        session,
        claim.job_id,
        Status.QUEUED,
        *held(claim),
        data={"reason": reason},
        reason=reason,
        max_attempts=JobRow.max_attempts + 1,
        free_attempts=JobRow.free_attempts + 1,
    )
    return row is not None or paused(session, claim) or cancelled(session, claim)


def held(claim: Claim) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The conditions of every write under a lease: the job is still its holder's."""
    return JobRow.lease_token == claim.token, JobRow.status.in_(LEASED)


def _is_to_finish(row: JobRow) -> bool:
    return row.finish_requested_at is not None or row.from_checkpoint is not None


def _in(seconds: float) -> ColumnElement[object]:
    # The clock of the statement, not of the transaction: a transaction that waited for a lock began long ago.
    return func.clock_timestamp() + timedelta(seconds=seconds)
