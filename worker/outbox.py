"""Doorbells that were promised in a job's own transaction and are still to be rung. Never commits."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.tables import JobRow, OutboxRow


def unsent(session: Session, limit: int) -> list[OutboxRow]:
    """The oldest ones, locked; those that another relay holds are passed over."""
    query = select(OutboxRow).order_by(OutboxRow.id).limit(limit).with_for_update(skip_locked=True)
    return list(session.scalars(query))


def traceparent(session: Session, row: OutboxRow) -> str | None:
    """Of the request that asked for the job."""
    return session.scalar(select(JobRow.traceparent).where(JobRow.id == row.job_id))


def discard(session: Session, row: OutboxRow) -> None:
    """Forget a doorbell that was rung."""
    session.delete(row)
