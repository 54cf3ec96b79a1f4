"""What a caller may know of themselves: who they are, what their project has, and what was done in it."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app import keyset, problems, projects, quotas
from app.callers import Administrator, CallerDep, JobReader
from app.deps import DoorDep
from app.keyset import PlaceDep
from app.tables import AuditRow
from app.tenant_schemas import AuditLog, Me, QuotaList, Usage

LOG = "/v1/audit_log"

router = APIRouter(tags=["account"])


@router.get("/v1/me", responses=problems.responses())
def me(door: DoorDep, caller: CallerDep) -> Me:
    """The project and the key of the caller, and what the key may do."""
    with door.sessions() as session:
        project = projects.get(session, caller.project_id)
    return Me(
        project_id=project.id,
        project=project.name,
        namespace=project.namespace,
        key_id=caller.key_id,
        key=caller.key_name,
        scopes=sorted(caller.scopes),
    )


@router.get("/v1/quotas", responses=problems.responses())
def list_quotas(door: DoorDep, caller: JobReader) -> QuotaList:
    """What the project may have, and has: beyond it, requests are refused with 429 or, for running jobs, wait."""
    with door.sessions() as session:
        return QuotaList.of(quotas.of(session, caller.project_id, door.settings))


@router.get("/v1/usage", responses=problems.responses())
def usage(door: DoorDep, caller: JobReader) -> Usage:
    """How many jobs and bytes the project has."""
    with door.sessions() as session:
        return Usage(
            jobs=quotas.jobs(session, caller.project_id),
            uploaded_bytes=quotas.uploaded_bytes(session, caller.project_id),
            published_bytes=quotas.published_bytes(session, caller.project_id),
            checkpoint_bytes=quotas.checkpoint_bytes(session, caller.project_id),
        )


@router.get(LOG, responses=problems.responses(400, 422))
def audit_log(
    door: DoorDep,
    caller: Administrator,
    place: PlaceDep,
    response: Response,
    action: Annotated[str | None, Query(description="Only entries of this action.", examples=["job.cancel"])] = None,
    target: Annotated[str | None, Query(description="Only what was done to this id.")] = None,
) -> AuditLog:
    """What was done in the project, the newest first."""
    conditions = [AuditRow.project_id == caller.project_id]
    if action is not None:
        conditions.append(AuditRow.action == action)
    if target is not None:
        conditions.append(AuditRow.target == target)
    with door.sessions() as session:
        page = AuditLog.of(keyset.page(session, AuditRow, AuditRow.id, place, *conditions))
    if page.has_more and page.last_id:
        place.link(response, LOG, page.last_id, action=action, target=target)
    return page
