"""The only statements that change a job: each holds the row's lock, checks where the job stands, and numbers events.

Whoever wants to hear of an event is told in the same transaction, see `jobs.webhooks`.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.orm import Session

from jobs import meters, webhooks
from jobs.errors import WorkerLost
from jobs.states import FINAL, LEASED, Status, sources
from jobs.tables import AttemptRow, CheckpointRow, EventRow, JobRow, Json, OutboxRow

Event = tuple[str, Json]


def move(
    session: Session, job_id: str, target: Status, *conditions: ColumnElement[bool], data: Json, **values: Any
) -> JobRow | None:
    """Bring a job to another status, with an event of that name.

    Leaves the lease unless the target is a leased status, and rings the doorbell when the target is `queued`.

    Returns:
        The row, or None if it is not in a status that allows the move or a condition does not hold.
    """
    if target not in LEASED:
        values |= {"lease_token": None, "lease_owner": None, "lease_expires_at": None}
    if target is Status.QUEUED:
        values |= {"queued_at": func.now(), "phase": None}
    values |= {"finished_at": func.now() if target in FINAL else None}
    row = change(
        session,
        job_id,
        JobRow.status.in_(sources(target)),
        *conditions,
        events=[(str(target), data)],
        status=target,
        version=JobRow.version + 1,
        **values,
    )
    if row is None:
        return None
    if target is Status.QUEUED:
        session.add(OutboxRow(job_id=job_id))
    if target not in LEASED:
        _end_attempt(session, row)
    _count(session, row, data)
    return row


def change(
    session: Session, job_id: str, *conditions: ColumnElement[bool], events: Sequence[Event] = (), **values: Any
) -> JobRow | None:
    """Write values and events to a job if the conditions hold, else nothing and None."""
    statement = (
        update(JobRow)
        .where(JobRow.id == job_id, *conditions)
        .values(last_seq=JobRow.last_seq + len(events), **values)
        .returning(JobRow)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    row = session.scalars(statement).one_or_none()
    if row is not None:
        number(session, row, events)
    return row


def _end_attempt(session: Session, row: JobRow) -> None:
    """Close the attempt that held the lease, if one did."""
    step = (row.progress or {}).get("step")
    saved_at = (
        select(func.max(CheckpointRow.created_at))
        .where(CheckpointRow.job_id == AttemptRow.job_id, CheckpointRow.attempt == AttemptRow.number)
        .scalar_subquery()
    )
    ended = session.execute(
        update(AttemptRow)
        .where(AttemptRow.job_id == row.id, AttemptRow.ended_at.is_(None))
        .values(
            ended_at=func.clock_timestamp(),
            outcome=row.status,
            reason=row.reason,
            phase=func.coalesce(row.phase, AttemptRow.phase),
            reached_step=step if isinstance(step, int) else None,
        )
        .returning(
            func.extract("epoch", AttemptRow.ended_at - AttemptRow.started_at),
            func.coalesce(func.extract("epoch", saved_at - AttemptRow.started_at), 0),
        )
    )
    for seconds, saved_seconds in ended:
        # A job that goes back to the queue says by its reason how its attempt fared.
        outcome = row.reason or row.status if row.status == Status.QUEUED else row.status
        # What comes after the last checkpoint is done again, or was for nothing.
        useful = seconds if row.status == Status.SUCCEEDED else min(seconds, saved_seconds)
        meters.count(session, meters.ATTEMPTS, outcome=outcome)
        meters.count(session, meters.GPU_SECONDS, float(useful), useful="true")
        meters.count(session, meters.GPU_SECONDS, float(seconds - useful), useful="false")


def _count(session: Session, row: JobRow, data: Json) -> None:
    if row.status == Status.RUNNING and row.heartbeat_at is not None:
        meters.observe(session, meters.QUEUE_WAIT, (row.heartbeat_at - row.queued_at).total_seconds())
    if row.status in FINAL:
        meters.count(session, meters.FINISHED, status=row.status, reason=row.reason or "none")
    if data.get("reason") == WorkerLost.code:
        meters.count(session, meters.LEASES_EXPIRED)


def number(session: Session, row: JobRow, events: Sequence[Event]) -> None:
    """Write the events whose numbers the row's `last_seq` already counts; the caller holds the row's lock."""
    first = row.last_seq - len(events) + 1
    if events:
        rows = [
            {"job_id": row.id, "seq": seq, "type": type_, "data": data}
            for seq, (type_, data) in enumerate(events, start=first)
        ]
        session.execute(insert(EventRow), rows)
        webhooks.announce(session, row, events)
