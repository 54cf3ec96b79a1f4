"""What a job can go on from, and what of it becomes a model."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Path, Response
from sqlalchemy.orm import Session

from app import intake, problems, publication, quotas, store
from app.audit import AuditDep
from app.callers import JobReader, JobWriter
from app.checkpoint_schemas import CheckpointList
from app.deps import DoorDep
from app.idempotency import OnceDep
from app.publication import PublishRequest
from app.schemas import JOBS, Job, job_url
from jobs.tables import JobRow

router = APIRouter(prefix=JOBS + "/{job_id}/checkpoints", tags=["jobs"])


@router.get("", responses=problems.responses(404, 422))
def list_checkpoints(job_id: str, door: DoorDep, caller: JobReader) -> CheckpointList:
    """What a job can go on from; a resumed job goes on from the newest that is whole."""
    with door.sessions() as session:
        return CheckpointList.of(store.checkpoints(session, job_id, project_id=caller.project_id))


@router.post("/{number}/publish", status_code=202, responses=problems.responses(400, 404, 409, 413, 415, 422, 429))
def publish_checkpoint(
    job_id: str,
    number: Annotated[int, Path(ge=1, lt=2**31, description="Of the checkpoint, as the list has it.")],
    door: DoorDep,
    caller: JobWriter,
    once: OnceDep,
    audit: AuditDep,
    response: Response,
    request: Annotated[PublishRequest | None, Body()] = None,
) -> Job:
    """Have a job of its own merge, verify and publish a checkpoint as it is; the job that it is of goes on meanwhile.

    The revision is of the same model, under the new job's id and as `step-N`. `main` leads to it only if the model has
    none yet.
    """
    request = request or PublishRequest()
    intake.refuse_nul(request)
    project_id = caller.project_id
    get = partial(store.get, project_id=project_id)
    asked = request.model_dump_json()
    with door.sessions() as session:
        earlier = once.earlier(session, asked)
        if earlier is None:
            source = publication.checkpoint(session, job_id, number, project_id=project_id)
            spec = publication.spec_of(get(session, job_id), source, request)
        else:
            row = get(session, earlier)
    if earlier is None:
        spec, plan = intake.check(spec, door, project_id)

        def create(session: Session) -> JobRow:
            made = publication.create(
                session, job_id, number, spec, project_id=project_id, settings=door.settings, plan=plan
            )
            audit.record(session, "checkpoint.publish", made.id, job_id=job_id, number=number)
            return made

        told_once = quotas.told_once(door.sessions, project_id)
        with told_once, door.sessions.begin() as session:
            row = once.run(session, asked, first=partial(create, session), again=partial(get, session))
        door.metrics.created.inc()
    response.headers["Location"] = job_url(row.id)
    return Job.of(row)
