"""What the owner of a job asks of it. Asking again changes nothing, with each of these."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body
from sqlalchemy.orm import Session

from app import intake, problems, store, verbs
from app.audit import Audit, AuditDep
from app.callers import Scope, needs
from app.deps import Door, DoorDep
from app.idempotency import Once, OnceDep
from app.schemas import JOBS, Job
from jobs.states import Verb
from jobs.tables import JobRow

router = APIRouter(
    prefix=JOBS + "/{job_id}",
    tags=["jobs"],
    responses=problems.responses(400, 404, 409, 413, 415, 422),
    dependencies=[needs(Scope.JOBS_WRITE)],
)

RequestBody = Annotated[verbs.Request | None, Body()]


@router.post("/cancel")
def cancel_job(job_id: str, door: DoorDep, audit: AuditDep, once: OnceDep, request: RequestBody = None) -> Job:
    """End a waiting job, or have a running one stop within seconds."""
    return _act(door, audit, once, job_id, Verb.CANCEL, request)


@router.post("/pause")
def pause_job(job_id: str, door: DoorDep, audit: AuditDep, once: OnceDep, request: RequestBody = None) -> Job:
    """Have a running job write a checkpoint and let its worker go; it rests until it is resumed."""
    return _act(door, audit, once, job_id, Verb.PAUSE, request)


@router.post("/resume")
def resume_job(
    job_id: str,
    door: DoorDep,
    audit: AuditDep,
    once: OnceDep,
    request: Annotated[verbs.ResumeRequest | None, Body()] = None,
) -> Job:
    """Let a paused, failed or cancelled job go on from its newest checkpoint."""
    return _act(door, audit, once, job_id, Verb.RESUME, request)


@router.post("/finish")
def finish_job(job_id: str, door: DoorDep, audit: AuditDep, once: OnceDep, request: RequestBody = None) -> Job:
    """Have a job stop training and publish what it has come to."""
    return _act(door, audit, once, job_id, Verb.FINISH, request)


@router.post("/retry")
def retry_job(job_id: str, door: DoorDep, audit: AuditDep, once: OnceDep, request: RequestBody = None) -> Job:
    """Let a failed or cancelled job begin anew, without its checkpoints."""
    return _act(door, audit, once, job_id, Verb.RETRY, request)


def _act(door: Door, audit: Audit, once: Once, job_id: str, verb: Verb, request: verbs.Request | None) -> Job:
    project_id = audit.caller.project_id
    if request is not None:
        intake.refuse_nul(request)

    def act(session: Session) -> JobRow:
        row = verbs.act(session, job_id, verb, request, project_id=project_id, max_attempts=door.settings.max_attempts)
        audit.record(session, f"job.{verb}", job_id)
        return row

    with door.sessions.begin() as session:
        row = once.run(
            session,
            "" if request is None else request.model_dump_json(),
            first=partial(act, session),
            again=partial(store.get, session, project_id=project_id),
        )
    return Job.of(row)
