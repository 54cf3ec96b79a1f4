"""What Prometheus reads."""

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from app import problems
from app.callers import FORBIDDEN_HINT, CallerDep, Scope
from app.deps import DoorDep
from jobs import errors
from jobs.tables import DEFAULT_PROJECT

router = APIRouter(tags=["health"])

TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Metrics in the format that Accept asks for.", "content": {"text/plain": {}}}
}


@router.get("/metrics", response_class=Response, responses={**TEXT, **problems.responses(403)})
def metrics(request: Request, door: DoorDep, caller: CallerDep) -> Response:
    """Metrics of this process, and of all projects' jobs: for the operator, by a key or `PRUNERY_METRICS_TOKEN`."""
    if caller.project_id != DEFAULT_PROJECT or not caller.may(Scope.METRICS_READ):
        raise errors.Forbidden(
            f"The API key {caller.key_name!r} is not an operator's with the scope {Scope.METRICS_READ}.",
            hint=FORBIDDEN_HINT,
        )
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(door.metrics.registry), headers={"Content-Type": media_type})
