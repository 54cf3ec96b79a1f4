"""What a caller may know of themselves: who they are, and what was done in their project."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app import keyset, problems, projects
from app.callers import Administrator, CallerDep
from app.deps import DoorDep
from app.keyset import PlaceDep
from app.tables import AuditRow
from app.tenant_schemas import AuditLog, Me

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
        key_id=caller.key_id,
        key=caller.key_name,
        scopes=sorted(caller.scopes),
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
