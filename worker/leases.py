"""What a worker does to a job. Only the holder of the lease may: each write names its token, and False says fenced.

A fenced worker has lost the job to another and must write and publish nothing more. Never commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from jobs import transitions
from jobs.errors import WorkerLost
from jobs.overrides import overridden
from jobs.states import LEASED, PHASES, Status
from jobs.tables import ArtifactRow, AttemptRow, JobRow, Json, OutboxRow
from worker import failures

BATCH = 100
DONE = {"percent": 100.0, "eta_seconds": 0.0}


@dataclass(frozen=True)
class Claim:
    """The right to work on a job, until the lease ends unrenewed."""

    job_id: str
    token: UUID
    attempt: int
    spec: Json


@dataclass(frozen=True)
class Orders:
    """What the holder of a lease is told at each beat."""

    cancel: bool
    pause: bool = False
    finish: bool = False


@dataclass(frozen=True)
class NewArtifact:
    """A file that lies in object storage under its hash."""

    path: str
    bytes: int
    sha256: str


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
    return Claim(row.id, row.lease_token, row.attempt, overridden(row.spec, row.overrides))


def beat(session: Session, claim: Claim, lease_seconds: float) -> Orders | None:
    """Renew the lease and hear the orders; None if fenced."""
    row = transitions.change(
        session, claim.job_id, *_held(claim), lease_expires_at=_in(lease_seconds), heartbeat_at=func.now()
    )
    if row is None:
        return None
    return Orders(
        cancel=row.status == Status.CANCELLING,
        pause=row.status == Status.PAUSING,
        finish=row.finish_requested_at is not None,
    )


def progress(session: Session, claim: Claim, phase: str, progress: Json | None) -> bool:
    """Say how far the job is; a progress of None leaves the last one."""
    values: dict[str, Any] = {} if progress is None else {"progress": progress, "progress_at": func.now()}
    values |= {"phase": phase, "version": JobRow.version + 1, "heard_at": func.now()}
    row = transitions.change(session, claim.job_id, *_held(claim), **values)
    return row is not None


def append(session: Session, claim: Claim, events: Sequence[transitions.Event]) -> bool:
    """Add events in their order."""
    row = transitions.change(session, claim.job_id, *_held(claim), events=events, heard_at=func.now())
    return row is not None


def succeed(session: Session, claim: Claim, result: Json, artifacts: Sequence[NewArtifact]) -> bool:
    """Make the artifacts visible and end the job, both or neither."""
    row = transitions.move(
        session,
        claim.job_id,
        Status.SUCCEEDED,
        *_held(claim),
        data={},
        result=result,
        phase=None,
        reason=None,
        progress=JobRow.progress.op("||")(DONE),
    )
    if row is None:
        return False
    session.add_all(
        ArtifactRow(job_id=row.id, path=artifact.path, bytes=artifact.bytes, sha256=artifact.sha256)
        for artifact in artifacts
    )
    return True


def fail(session: Session, claim: Claim, error: Json, reason: str) -> bool:
    """End the job with an error."""
    row = transitions.move(
        session, claim.job_id, Status.FAILED, *_held(claim), data={"error": error}, error=error, reason=reason
    )
    return row is not None


def cancelled(session: Session, claim: Claim) -> bool:
    """End the job as the client asked."""
    row = transitions.move(session, claim.job_id, Status.CANCELLED, *_held(claim), data={})
    return row is not None


def paused(session: Session, claim: Claim) -> bool:
    """Let the job rest as the client asked; that, too, is no attempt of its own."""
    row = transitions.move(
        session, claim.job_id, Status.PAUSED, *_held(claim), data={}, max_attempts=JobRow.max_attempts + 1
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
        *_held(claim),
        data={"reason": reason},
        reason=reason,
        max_attempts=JobRow.max_attempts + 1,
        free_attempts=JobRow.free_attempts + 1,
    )
    return row is not None or paused(session, claim) or cancelled(session, claim)


def reap(session: Session, *, rering_seconds: float) -> int:
    """Settle the jobs whose lease has run out, and ring again for those that wait unheard.

    Returns:
        How many jobs were touched. Jobs that another transaction holds are left for the next time.
    """
    expired = (
        select(JobRow)
        .where(JobRow.status.in_(LEASED), JobRow.lease_expires_at < func.now())
        .order_by(JobRow.lease_expires_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    unheard = (
        select(JobRow)
        .where(
            JobRow.status == Status.QUEUED,
            JobRow.rung_at < func.now() - timedelta(seconds=rering_seconds),
            ~select(OutboxRow).where(OutboxRow.job_id == JobRow.id).exists(),
        )
        .order_by(JobRow.rung_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    # The second query runs first: a job that is only now put back has its doorbell already.
    waiting = list(session.scalars(unheard))
    lost = list(session.scalars(expired))
    for row in waiting:
        transitions.change(session, row.id, rung_at=func.now())
        session.add(OutboxRow(job_id=row.id))
    for row in lost:
        _settle_lost(session, row)
    return len(waiting) + len(lost)


def _settle_lost(session: Session, row: JobRow) -> None:
    data: Json = {"reason": WorkerLost.code, "worker": row.lease_owner, "attempt": row.attempt}
    if row.status == Status.CANCELLING:
        transitions.move(session, row.id, Status.CANCELLED, data=data)
    elif row.status == Status.PAUSING:
        transitions.move(session, row.id, Status.PAUSED, data=data, max_attempts=JobRow.max_attempts + 1)
    elif row.attempt < row.max_attempts:
        transitions.move(session, row.id, Status.QUEUED, data=data, reason=WorkerLost.code)
    else:
        lost = WorkerLost(
            f"The worker stopped answering in each of {row.attempt} attempts.",
            hint="If the worker's machine ran out of memory, ask for less or give it more.",
        )
        error = failures.describe(lost, phase=row.phase)
        transitions.move(
            session, row.id, Status.FAILED, data={**data, "error": error}, error=error, reason=WorkerLost.code
        )


def _held(claim: Claim) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return JobRow.lease_token == claim.token, JobRow.status.in_(LEASED)


def _in(seconds: float) -> ColumnElement[object]:
    # The clock of the statement, not of the transaction: a transaction that waited for a lock began long ago.
    return func.clock_timestamp() + timedelta(seconds=seconds)
