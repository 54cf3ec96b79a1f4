"""Compression jobs: ask, read, list, cancel, follow."""

from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

from anyio import move_on_after, to_thread
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from app import changing, datasets, estimates, intake, listing, problems, quotas, ranges, store, waiting
from app.audit import AuditDep
from app.callers import JobReader, JobWriter
from app.changes import Mark
from app.changing import etag
from app.deps import Door, DoorDep
from app.estimates import Estimate
from app.idempotency import OnceDep
from app.job_bodies import JSON_ONLY, JobBody, PatchBody
from app.job_query import METADATA, MOST, JobQuery
from app.schemas import JOBS, AttemptList, EventList, Job, JobList, job_url
from app.waiting import Waiting
from jobs.states import FINAL, Status
from jobs.tables import JobRow

router = APIRouter(prefix=JOBS, tags=["jobs"])

LONGEST_WAIT = 60
AGAIN_SECONDS = {Status.QUEUED: 5}
VALIDATED: dict[str, Any] = {"model": Estimate, "description": "With validate_only: what it would come to."}
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "If-None-Match named this very version."}}


def _limit(limit: Annotated[int, Query(ge=1, description=f"At most {MOST}; more counts as {MOST}.")] = 20) -> int:
    return min(limit, MOST)


LimitDep = Annotated[int, Depends(_limit)]


@router.post(
    "",
    status_code=202,
    response_model=Job,
    dependencies=[JSON_ONLY],
    responses={200: VALIDATED, **problems.responses(400, 404, 409, 413, 415, 422, 429)},
)
def create_job(
    spec: JobBody,
    door: DoorDep,
    caller: JobWriter,
    once: OnceDep,
    audit: AuditDep,
    response: Response,
    validate_only: Annotated[
        bool, Query(description="Check it and say what it would come to, and store nothing.")
    ] = False,
) -> Job | Response:
    """Ask for a compression. What can be checked without the weights is checked now; a refused job is not stored."""
    if validate_only:
        return JSONResponse(estimates.estimate(spec, door, caller.project_id).model_dump(mode="json"))
    # The webhook is no part of the other copies of a spec.
    asked = spec.model_dump_json() + (spec.webhook.model_dump_json() if spec.webhook else "")
    get = partial(store.get, project_id=caller.project_id)
    with door.sessions() as session:
        earlier = once.earlier(session, asked)
        row = None if earlier is None else get(session, earlier)
    if row is None:
        pinned, plan = intake.check(spec, door, caller.project_id)

        def create(session: Session) -> JobRow:
            quotas.require_submission(session, caller.project_id, door.settings)
            datasets.hold(session, spec, caller.project_id)
            made = store.create(
                session,
                pinned,
                project_id=caller.project_id,
                max_attempts=door.settings.max_attempts,
                plan=plan,
                seal=door.seal,
            )
            audit.record(session, "job.create", made.id)
            return made

        told_once = quotas.told_once(door.sessions, caller.project_id)
        with told_once, door.sessions.begin() as session:
            row = once.run(session, asked, first=partial(create, session), again=partial(get, session))
        door.metrics.created.inc()
    response.headers["Location"] = job_url(row.id)
    # Written here, and not in a thread of its own: this is the call that many make at once.
    return Response(Job.of(row).model_dump_json(), 202, response.headers, media_type="application/json")


@router.get("", responses=problems.responses(400, 422), openapi_extra=METADATA)
def list_jobs(
    request: Request, door: DoorDep, caller: JobReader, response: Response, asked: Annotated[JobQuery, Query()]
) -> JobList:
    """Jobs, the newest first; the Link header leads to the pages around this one."""
    filters = asked.filters(caller.project_id)
    with door.sessions() as session:
        page = listing.page(session, filters, limit=asked.size, cursor=asked.cursor, order=asked.order)
        total = listing.total(session, filters) if "total" in asked.include else None
    data = [Job.of(row) for row in page.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    if links := _links(request, page):
        response.headers["Link"] = links
    return JobList(data=data, first_id=first, last_id=last, has_more=page.has_more, total=total)


def _links(request: Request, page: listing.Page) -> str:
    """The same list, before and after a page (RFC 8288)."""
    if not page.items:
        return ""
    asked = request.query_params
    backwards = "before" in asked
    there = {"prev": page.has_more if backwards else "after" in asked, "next": backwards or page.has_more}
    cursors = {"prev": ("before", page.items[0].id), "next": ("after", page.items[-1].id)}
    rest = [(name, value) for name, value in asked.multi_items() if name not in ("after", "before")]
    return ", ".join(
        f'<{JOBS}?{urlencode([*rest, cursors[way]])}>; rel="{way}"' for way, leads in there.items() if leads
    )


@router.get("/{job_id}", response_model=Job, responses={**UNCHANGED, **problems.responses(404, 422)})
async def get_job(
    job_id: str,
    door: DoorDep,
    caller: JobReader,
    response: Response,
    wait: Annotated[
        float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for another version, if this one is known.")
    ] = 0,
    if_none_match: Annotated[str | None, Header(description="The ETag that is known already.")] = None,
) -> Job | Response:
    """Where a job stands. Its ETag is its version; Retry-After says when it is worth asking again.

    With `wait`, the answer comes once the job's version is another than that of If-None-Match (without it: than the
    present one), or it has ended, or the time is over.
    """
    row = await to_thread.run_sync(_row, door, job_id, caller.project_id)
    if wait and _is_known(row, if_none_match):
        row = await _changed(door, row, wait)
    headers = _headers(row)
    if if_none_match is not None and _is_known(row, if_none_match):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return Job.of(row)


async def _changed(door: Door, row: JobRow, seconds: float) -> JobRow:
    """The job at another version, or as it is when the time is over or there is nothing to wait for."""
    first = row.version
    with move_on_after(seconds):
        while row.version == first and row.status not in FINAL and not door.changes.closing:
            await door.changes.since(row.id, Mark.of(row))
            row = await to_thread.run_sync(_row, door, row.id, row.project_id)
    return row


def _row(door: Door, job_id: str, project_id: str) -> JobRow:
    with door.sessions() as session:
        return store.get(session, job_id, project_id=project_id)


def _is_known(row: JobRow, if_none_match: str | None) -> bool:
    return if_none_match is None or ranges.is_unchanged(if_none_match, etag(row))


def _headers(row: JobRow) -> dict[str, str]:
    status = Status(row.status)
    again = {} if status in FINAL else {"Retry-After": str(AGAIN_SECONDS.get(status, 2))}
    return {"ETag": etag(row), **again}


@router.patch("/{job_id}", dependencies=[JSON_ONLY], responses=problems.responses(400, 404, 409, 412, 413, 415, 422))
def change_job(
    job_id: str,
    patch: PatchBody,
    door: DoorDep,
    caller: JobWriter,
    audit: AuditDep,
    response: Response,
    if_match: Annotated[str | None, Header(description="Only if the job is still at this ETag.")] = None,
) -> Job:
    """Give a job another name or other metadata, or while it waits another priority, by a JSON Merge Patch."""
    intake.refuse_nul(patch)
    with door.sessions.begin() as session:
        row = changing.apply(session, job_id, patch, project_id=caller.project_id, if_match=if_match)
        audit.record(session, "job.change", job_id, **patch.model_dump(mode="json", exclude_unset=True))
    response.headers["ETag"] = etag(row)
    return Job.of(row)


@router.get("/{job_id}/attempts", responses=problems.responses(404, 422))
def list_attempts(job_id: str, door: DoorDep, caller: JobReader) -> AttemptList:
    """The workers' tries at a job, in their order: when, where, and how each ended."""
    with door.sessions() as session:
        return AttemptList.of(store.attempts(session, job_id, project_id=caller.project_id))


@router.get("/{job_id}/waiting", responses=problems.responses(404, 422))
def explain_waiting(job_id: str, door: DoorDep, caller: JobReader) -> Waiting:
    """Why a queued job waits, and behind how many."""
    with door.sessions() as session:
        return waiting.look(session, job_id, door.settings, project_id=caller.project_id)


@router.get("/{job_id}/events", responses=problems.responses(404, 422))
def list_events(
    job_id: str,
    door: DoorDep,
    caller: JobReader,
    limit: LimitDep,
    after: Annotated[int, Query(ge=0, lt=2**31, description="The last seq that is known already.")] = 0,
) -> EventList:
    """What happened to a job, in its order."""
    with door.sessions() as session:
        rows = store.events(session, job_id, project_id=caller.project_id, after=after, limit=limit + 1)
    return EventList.of(rows, limit)
