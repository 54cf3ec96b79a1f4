"""What a job has measured and said."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from app import problems, records
from app.callers import JobReader
from app.deps import DoorDep
from app.record_schemas import LogLine, LogTail, MetricList, MetricSeries
from app.schemas import JOBS

router = APIRouter(prefix=f"{JOBS}/{{job_id}}", tags=["jobs"])

Level = Literal["info", "warning", "error", "stderr"]


@router.get("/metrics", responses=problems.responses(404, 422))
def list_metrics(
    job_id: str,
    door: DoorDep,
    caller: JobReader,
    keys: Annotated[
        str | None,
        Query(
            max_length=1024, description="Names of series, with commas; all if not given.", examples=["loss,sparsity"]
        ),
    ] = None,
    from_step: Annotated[int, Query(ge=0, lt=2**31, description="The first optimizer step of interest.")] = 0,
    max_points: Annotated[
        int, Query(ge=2, le=10_000, description="Of each series: a longer one keeps the points that give it its shape.")
    ] = 2000,
) -> MetricList:
    """The measurements of a job by optimizer step: `loss`, `sparsity`, `tokens_per_second` and what its method adds.

    A step that was trained again after a restart counts as it was trained last.
    """
    with door.sessions() as session:
        found = records.series(
            session,
            job_id,
            project_id=caller.project_id,
            keys=keys.split(",") if keys else (),
            from_step=from_step,
            max_points=max_points,
        )
    return MetricList(data=[MetricSeries.model_validate(series) for series in found])


@router.get("/logs", responses=problems.responses(404, 422))
def tail_logs(
    job_id: str,
    door: DoorDep,
    caller: JobReader,
    tail: Annotated[int, Query(ge=1, le=5000, description="At most this many lines, the newest.")] = 500,
    level: Annotated[list[Level] | None, Query(description="Only lines of this level; may be repeated.")] = None,
    attempt: Annotated[
        int | None, Query(ge=1, lt=2**31, description="Only what this attempt said, counted from 1.")
    ] = None,
) -> LogTail:
    """The end of a job's log, in its order; `stderr` is what its engine wrote without our doing."""
    with door.sessions() as session:
        lines = records.log_tail(
            session, job_id, project_id=caller.project_id, tail=tail, levels=level or (), attempt=attempt
        )
    return LogTail(data=[LogLine.of(line) for line in lines])
