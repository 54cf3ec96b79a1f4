"""Why a queued job waits, and behind how many."""

from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from app import store
from jobs.settings import Settings
from jobs.states import LEASED, Status
from jobs.tables import JobRow, ProjectRow, WorkerRow

# A worker that was not seen for so many of its heartbeats is taken for gone.
BEATS_MISSED = 10

Reason = Literal["not_before", "project_limit", "no_worker", "no_worker_of_class", "no_worker_large_enough", "turn"]


class Waiting(BaseModel):
    """How a job stands in the queue."""

    object: Literal["compression.job.waiting"] = "compression.job.waiting"
    waits: bool = Field(description="Whether it waits for a worker at all.")
    ahead: int = Field(description="Waiting jobs of a higher priority, or of the same and longer in the queue.")
    blocked_on: Reason | None = Field(description="What has to change first; `turn` if only others must end.")
    detail: str


def look(session: Session, job_id: str, settings: Settings, *, project_id: str) -> Waiting:
    """
    Raises:
        NotFound: there is no such job.
    """
    row = store.get(session, job_id, project_id=project_id)
    if row.status != Status.QUEUED:
        return Waiting(waits=False, ahead=0, blocked_on=None, detail=f"The job is {row.status}.")
    sooner = or_(
        JobRow.priority > row.priority, and_(JobRow.priority == row.priority, JobRow.queued_at < row.queued_at)
    )
    ahead = session.scalar(select(func.count()).where(JobRow.status == Status.QUEUED, sooner)) or 0
    reason, detail = _reason(session, row, settings)
    return Waiting(waits=True, ahead=ahead, blocked_on=reason, detail=detail)


def _reason(session: Session, row: JobRow, settings: Settings) -> tuple[Reason, str]:
    if row.not_before is not None and session.scalar(select(func.now() < row.not_before)):
        return "not_before", f"It rests until {row.not_before:%Y-%m-%d %H:%M:%S} UTC, since it failed for a while."
    alive = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, BEATS_MISSED * settings.heartbeat_seconds)
    workers = list(session.scalars(select(WorkerRow).where(WorkerRow.seen_at > alive, WorkerRow.fault.is_(None))))
    if not workers:
        return "no_worker", "No worker is there."
    if row.gpu_class is not None:
        workers = [worker for worker in workers if worker.gpu_class == row.gpu_class]
        if not workers:
            return "no_worker_of_class", f"No worker of class {row.gpu_class} is there."
    largest = max(worker.memory_bytes for worker in workers)
    if row.needed_bytes is not None and row.needed_bytes > largest:
        needed, had = row.needed_bytes / 1e9, largest / 1e9
        return "no_worker_large_enough", f"It needs about {needed:.1f} GB; the largest worker has {had:.1f} GB."
    limit = session.scalar(select(ProjectRow.max_running).where(ProjectRow.id == row.project_id))
    limit = settings.project_max_running if limit is None else limit
    at_work = select(func.count()).where(JobRow.project_id == row.project_id, JobRow.status.in_(LEASED))
    if limit is not None and (session.scalar(at_work) or 0) >= limit:
        return "project_limit", f"The project has {limit} jobs at work, as many as it may."
    return "turn", "It is taken as soon as a worker is free and its turn has come."
