"""What is told to someone who follows a job: its events as they are stored, and its progress between them.

Everything is read from the database in short transactions: a stream holds no connection while it waits. An event
carries its number as the id, so that a client that comes back says what it has; progress carries none, since only the
newest counts.
"""

import logging
from collections.abc import AsyncIterator, Sequence

import anyio
from anyio import to_thread
from fastapi.sse import ServerSentEvent
from sqlalchemy import select
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import store
from app.changes import Mark
from app.deps import Door
from app.schemas import Event, Job
from jobs import database, errors
from jobs.states import FINAL, Status
from jobs.tables import EventRow, JobRow

BATCH = 500
PACE_SECONDS = 1.0
AWAY = (*database.OUTAGES, PoolTimeout)

logger = logging.getLogger(__name__)


async def follow(door: Door, project_id: str, job_id: str, seen: int) -> AsyncIterator[ServerSentEvent]:
    """Everything after event `seen`, until the job has ended; looks at most once a second.

    A database that goes away or a process that is to end breaks the stream off, for the client to come back.
    """
    told_at = None
    while not door.changes.closing:
        looked = anyio.current_time()
        try:
            row, events = await to_thread.run_sync(_read, door, project_id, job_id, seen)
        except AWAY as error:
            logger.warning("%s: its stream breaks off, the database does not answer: %s", job_id, error)
            return
        except errors.NotFound:
            return
        for event in events:
            seen = event.seq
            yield ServerSentEvent(event=name(event.type), id=str(seen), data=Event.model_validate(event))
        if len(events) == BATCH:
            continue
        if row.progress is not None and row.progress_at != told_at and row.status not in FINAL:
            told_at = row.progress_at
            yield ServerSentEvent(event="progress", data=Job.of(row).progress)
        if row.status in FINAL:
            yield ServerSentEvent(event="done", data=Job.of(row))
            return
        await door.changes.since(job_id, Mark.of(row))
        await anyio.sleep_until(looked + PACE_SECONDS)


async def follow_all(door: Door, project_id: str, job_ids: Sequence[str]) -> AsyncIterator[ServerSentEvent]:
    """Each of the jobs as it stands, and again whenever it has changed, until all have ended."""
    marks: dict[str, Mark] = {}
    while not door.changes.closing:
        looked = anyio.current_time()
        try:
            rows = await to_thread.run_sync(_read_all, door, project_id, job_ids)
        except AWAY as error:
            logger.warning("a stream breaks off, the database does not answer: %s", error)
            return
        for row in rows:
            if marks.get(row.id, Mark(0, 0)).version != row.version:
                yield ServerSentEvent(event="job", data=Job.of(row))
            marks[row.id] = Mark.of(row)
        active = {row.id: marks[row.id] for row in rows if row.status not in FINAL}
        if not active:
            yield ServerSentEvent(event="done", data={})
            return
        await _any_change(door, active)
        await anyio.sleep_until(looked + PACE_SECONDS)


def name(type_: str) -> str:
    """Moves from status to status have one name, whichever the status."""
    return "status" if type_ in set(Status) else type_


async def _any_change(door: Door, marks: dict[str, Mark]) -> None:
    async def wait(job_id: str, mark: Mark) -> None:
        await door.changes.since(job_id, mark)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for job_id, mark in marks.items():
            tasks.start_soon(wait, job_id, mark)


def _read(door: Door, project_id: str, job_id: str, seen: int) -> tuple[JobRow, list[EventRow]]:
    with door.sessions() as session:
        # The row first: what happens in between is then seen as a change.
        row = store.get(session, job_id, project_id=project_id)
        return row, store.events(session, job_id, project_id=project_id, after=seen, limit=BATCH)


def _read_all(door: Door, project_id: str, job_ids: Sequence[str]) -> list[JobRow]:
    with door.sessions() as session:
        query = select(JobRow).where(JobRow.id.in_(job_ids), JobRow.project_id == project_id)
        return list(session.scalars(query.order_by(JobRow.created_at, JobRow.id)))
