"""Doorbells that were promised in a job's own transaction and are still to be rung. Never commits."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from jobs.tables import JobRow, OutboxRow


class Bell(NamedTuple):
    """`traceparent`: of the request that asked for the job."""

    id: int
    job_id: str
    traceparent: str | None


def unsent(session: Session, limit: int) -> list[Bell]:
    """The oldest ones, locked; those that another relay holds are passed over."""
    query = (
        select(OutboxRow.id, OutboxRow.job_id, JobRow.traceparent)
        .join(JobRow, JobRow.id == OutboxRow.job_id)
        .order_by(OutboxRow.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=OutboxRow)
    )
    return [Bell(*row) for row in session.execute(query)]


def discard(session: Session, bells: Sequence[Bell]) -> None:
    """Forget doorbells that were rung."""
    session.execute(delete(OutboxRow).where(OutboxRow.id.in_([bell.id for bell in bells])))
