"""POST /v1/compression/estimates."""

from fastapi import APIRouter

from app import estimates, problems
from app.callers import JobReader
from app.deps import DoorDep
from app.estimates import Estimate
from app.job_bodies import JSON_ONLY, JobBody

router = APIRouter(prefix="/v1/compression/estimates", tags=["jobs"])


@router.post("", dependencies=[JSON_ONLY], responses=problems.responses(400, 413, 415, 422))
def estimate_job(spec: JobBody, door: DoorDep, caller: JobReader) -> Estimate:
    """What a job would come to: its plan, its memory, where its result loads. It is refused where the job would be."""
    return estimates.estimate(spec, door, caller.project_id)
