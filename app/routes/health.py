"""Whether the process lives, and whether it can do its work."""

from fastapi import APIRouter, Request, Response

from app import problems
from app.deps import DoorDep
from app.schemas import Health, Readiness
from jobs import errors

router = APIRouter(tags=["health"])


@router.get("/healthz", responses={}, openapi_extra={"security": []})
async def healthz() -> Health:
    """The process lives; says nothing of what it depends on."""
    return Health()


@router.get("/readyz", response_model=Readiness, responses=problems.responses(), openapi_extra={"security": []})
def readyz(request: Request, door: DoorDep) -> Readiness | Response:
    """The database and object storage answer, and what else is not as it should be.

    While the broker, the relay, every worker or the sender of webhooks is away, jobs are accepted and wait.
    """
    report = door.readiness.report()
    if report.missing:
        said = "; ".join(f"{part}: {words}" for part, words in {**report.missing, **report.degraded}.items())
        return problems.answer(request.scope, errors.StorageUnavailable(f"Not ready. {said.capitalize()}."))
    if not report.degraded:
        return Readiness(status="ok")
    return Readiness(status="degraded", degraded=sorted(report.degraded), details=dict(report.degraded))
