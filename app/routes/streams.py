"""Server-sent events: jobs as they go on."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AfterValidator

from app import problems, store, streams
from app.callers import JobReader
from app.deps import DoorDep
from app.schemas import JOBS
from jobs.states import FINAL

router = APIRouter(tags=["jobs"])

MOST = 100
AGAIN_MILLISECONDS = 2000
DESCRIPTION: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events without end, `: ping` between them; see the description.",
        "content": {"text/event-stream": {}},
    },
    204: {"description": "The job has ended and Last-Event-ID is its last event: do not come back."},
}


class NothingMore(Exception):
    """The client has seen everything that will ever be."""


async def no_content(request: Request, error: Exception) -> Response:
    return Response(status_code=204)


def _seen(
    job_id: str,
    door: DoorDep,
    caller: JobReader,
    after: Annotated[int, Query(ge=0, lt=2**31, description="Number of the last event that is known already.")] = 0,
    last_event_id: Annotated[
        int | None, Header(ge=0, lt=2**31, description="The same, as a browser sends it when it comes back.")
    ] = None,
) -> int:
    seen = after if last_event_id is None else last_event_id
    with door.sessions() as session:
        row = store.get(session, job_id, project_id=caller.project_id)
    if row.status in FINAL and seen >= row.last_seq:
        raise NothingMore
    return seen


@router.get(
    f"{JOBS}/{{job_id}}/stream",
    response_class=EventSourceResponse,
    responses={**DESCRIPTION, **problems.responses(404, 422)},
)
async def stream_job(
    job_id: str, door: DoorDep, caller: JobReader, seen: Annotated[int, Depends(_seen)]
) -> AsyncIterator[ServerSentEvent]:
    """Follow a job: first what has happened, then what happens.

    `status`, `phase`, `prune`, `log` and the other events of `…/events` carry their number as the id; `progress` comes
    in between, at most once a second. The last one is `done`, with the whole job. Whoever comes back with
    Last-Event-ID goes on after it.
    """
    yield ServerSentEvent(retry=AGAIN_MILLISECONDS, comment=job_id)
    async for event in streams.follow(door, caller.project_id, job_id, seen):
        yield event


def _few(jobs: str) -> str:
    if jobs.count(",") >= MOST:
        raise ValueError(f"at most {MOST} jobs at once")
    return jobs


def _jobs(
    jobs: Annotated[
        str,
        Query(description=f"Ids of at most {MOST} jobs, with commas.", examples=["cjob_1,cjob_2"]),
        AfterValidator(_few),
    ],
    door: DoorDep,
    caller: JobReader,
) -> list[str]:
    ids = list(dict.fromkeys(jobs.split(",")))
    with door.sessions() as session:
        for job_id in ids:
            store.get(session, job_id, project_id=caller.project_id)
    return ids


@router.get(
    "/v1/stream", response_class=EventSourceResponse, responses={200: DESCRIPTION[200], **problems.responses(404, 422)}
)
async def stream_jobs(
    door: DoorDep, caller: JobReader, jobs: Annotated[list[str], Depends(_jobs)]
) -> AsyncIterator[ServerSentEvent]:
    """Follow several jobs over one connection.

    A `job` event with each of the jobs as it stands, and again when it has changed, at most once a second; `done` when
    all have ended.
    """
    yield ServerSentEvent(retry=AGAIN_MILLISECONDS, comment=f"{len(jobs)} jobs")
    async for event in streams.follow_all(door, caller.project_id, jobs):
        yield event
