"""What a job leaves behind while it runs: the series of its measurements, and its log. Never commits."""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from app import downsampling, store
from jobs.states import Status
from jobs.tables import EventRow, MetricRow


@dataclass(frozen=True)
class Series:
    """Values by step; `total` counts those that were left out too."""

    key: str
    steps: Sequence[int]
    values: Sequence[float]
    total: int


@dataclass(frozen=True)
class LogLine:
    """A line of the log, and the attempt that wrote it."""

    event: EventRow
    attempt: int


def series(
    session: Session, job_id: str, *, project_id: str, keys: Collection[str], from_step: int, max_points: int
) -> list[Series]:
    """Each of the series, or all if no keys are named, from a step on.

    Raises:
        NotFound: there is no such job.
    """
    store.get(session, job_id, project_id=project_id)
    steps = func.array_agg(aggregate_order_by(MetricRow.step, MetricRow.step))
    values = func.array_agg(aggregate_order_by(MetricRow.value, MetricRow.step))
    query = select(MetricRow.key, steps, values).where(MetricRow.job_id == job_id, MetricRow.step >= from_step)
    if keys:
        query = query.where(MetricRow.key.in_(keys))
    found = session.execute(query.group_by(MetricRow.key).order_by(MetricRow.key))
    return [_short(key, steps, values, max_points) for key, steps, values in found]


def log_tail(
    session: Session, job_id: str, *, project_id: str, tail: int, levels: Collection[str], attempt: int | None
) -> list[LogLine]:
    """The newest lines, in their order.

    Raises:
        NotFound: there is no such job.
    """
    store.get(session, job_id, project_id=project_id)
    of_job = EventRow.job_id == job_id
    starts = list(
        session.scalars(select(EventRow.seq).where(of_job, EventRow.type == Status.RUNNING).order_by(EventRow.seq))
    )
    query = select(EventRow).where(of_job, EventRow.type == "log")
    if levels:
        query = query.where(func.coalesce(EventRow.data["level"].astext, "info").in_(levels))
    if attempt is not None:
        if not 1 <= attempt <= len(starts):
            return []
        query = query.where(EventRow.seq > starts[attempt - 1])
        if attempt < len(starts):
            query = query.where(EventRow.seq < starts[attempt])
    newest = session.scalars(query.order_by(EventRow.seq.desc()).limit(tail))
    return [LogLine(event, bisect_right(starts, event.seq)) for event in reversed(newest.all())]


def _short(key: str, steps: Sequence[int], values: Sequence[float], max_points: int) -> Series:
    kept = downsampling.largest_triangles(steps, values, max_points)
    return Series(key, [steps[at] for at in kept], [values[at] for at in kept], len(steps))
