"""A job's recipe, its report, and what each layer keeps."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import HTMLResponse, Response

from app import papers, problems
from app.callers import JobReader, ModelReader
from app.deps import DoorDep
from app.schemas import JOBS

router = APIRouter(prefix=JOBS + "/{job_id}", tags=["jobs"])

YAML: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "What `prunery submit` takes.",
        "content": {"application/yaml": {"schema": {"type": "object"}, "example": {"seed": 42}}},
    }
}
PAGE: dict[str, Any] = {"text/html": {"schema": {"type": "string"}, "example": "<!doctype html>…"}}
REPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "As docs/compression_report.schema.json has it, or the page for people.",
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": {"version": 2, "achieved_ratio": 0.3}},
            **PAGE,
        },
    },
    **problems.responses(404, 409, 422),
}


@router.get("/recipe", response_class=Response, responses={**YAML, **problems.responses(404, 422)})
def get_recipe(job_id: str, door: DoorDep, caller: JobReader) -> Response:
    """All that the job was asked for, to have the same again: the published one, or the request as it stands."""
    return Response(papers.recipe(door, job_id, caller.project_id), media_type="application/yaml")


@router.get("/report", response_class=Response, responses=REPORT)
def get_report(
    job_id: str,
    door: DoorDep,
    caller: ModelReader,
    accept: Annotated[str, Header(description="text/html for the page.")] = "application/json",
) -> Response:
    """What a job that has succeeded did, in numbers."""
    if _prefers_html(accept):
        return _page(papers.published(door, job_id, papers.PAGE, caller.project_id))
    content = papers.published(door, job_id, papers.REPORT, caller.project_id)
    return Response(content, media_type="application/json", headers={"Vary": "Accept"})


@router.get(
    "/report.html",
    response_class=HTMLResponse,
    responses={200: {"description": "The page.", "content": PAGE}, **problems.responses(404, 409, 422)},
)
def get_report_page(job_id: str, door: DoorDep, caller: ModelReader) -> Response:
    """The report of a job that has succeeded as a page for people, which loads nothing else."""
    return _page(papers.published(door, job_id, papers.PAGE, caller.project_id))


@router.get("/layers", responses=problems.responses(404, 409, 422))
def list_layers(job_id: str, door: DoorDep, caller: JobReader) -> papers.LayerList:
    """The heads and channels that each layer keeps: as the report has them, or before there is one, as planned."""
    return papers.layers(door, job_id, caller.project_id)


def _prefers_html(accept: str) -> bool:
    """As browsers do; whoever names both first names what it would rather have."""
    kinds = [part.partition(";")[0].strip() for part in accept.split(",")]
    return "text/html" in kinds and "application/json" not in kinds[: kinds.index("text/html")]


def _page(content: bytes) -> Response:
    # The page comes from an engine: it may draw, and nothing else.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
    return HTMLResponse(content, headers={"Vary": "Accept", "Content-Security-Policy": policy})
