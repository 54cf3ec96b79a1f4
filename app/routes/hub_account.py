"""Whose key this is, as the clients of the Hugging Face Hub ask."""

from fastapi import APIRouter
from fastapi.responses import Response

from app import projects
from app.callers import CallerDep
from app.deps import DoorDep
from app.hub_documents import Json
from app.hub_problems import ROOT
from jobs.errors import Unauthorized

router = APIRouter(include_in_schema=False)


@router.get(ROOT + "/api/whoami-v2")
def whoami(door: DoorDep, caller: CallerDep) -> Json:
    """The namespace and the name of the caller's key."""
    if not caller.project_id:
        raise Unauthorized("There is no key.", hint="Set HF_TOKEN.")
    with door.sessions() as session:
        project = projects.get(session, caller.project_id)
    return {
        "type": "user",
        "id": project.id,
        "name": project.namespace,
        "fullname": project.name,
        "orgs": [],
        "auth": {"type": "access_token", "accessToken": {"role": "read", "displayName": caller.key_name}},
    }


@router.api_route(ROOT + "/api/telemetry/{rest:path}", methods=["GET", "HEAD", "POST"])
async def telemetry() -> Response:
    """Taken, and not looked at."""
    return Response(status_code=204)
