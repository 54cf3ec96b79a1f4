"""Jobs that are not wanted any more."""

from fastapi import APIRouter

from app import problems, removal
from app.audit import AuditDep
from app.callers import JobWriter
from app.deps import DoorDep
from app.schemas import JOBS

router = APIRouter(prefix=JOBS, tags=["jobs"])


@router.delete("/{job_id}", status_code=204, responses=problems.responses(403, 404, 409, 422))
def delete_job(job_id: str, door: DoorDep, caller: JobWriter, audit: AuditDep) -> None:
    """Remove a job that has ended, with its events, its checkpoints and what it published."""
    with door.sessions.begin() as session:
        row = removal.remove_job(session, job_id, project_id=caller.project_id)
        audit.record(session, "job.delete", job_id, status=row.status)
