"""API keys: make, list, replace, revoke."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from app import keys, problems, projects
from app.audit import AuditDep
from app.callers import Administrator, Caller
from app.deps import Door, DoorDep
from app.keys import NewKey
from app.keyset import PlaceDep
from app.tenant_schemas import ApiKey, ApiKeyList, CreatedApiKey, NewApiKey, Rotation
from jobs import errors

KEYS = "/v1/api_keys"

router = APIRouter(prefix=KEYS, tags=["keys"])

ProjectQuery = Annotated[str | None, Query(description="Another project than the caller's: for operators.")]


@router.post("", status_code=201, responses=problems.responses(400, 404, 413, 422))
def create_api_key(
    wanted: NewApiKey, door: DoorDep, caller: Administrator, audit: AuditDep, response: Response
) -> CreatedApiKey:
    """Make a key. The answer shows it, this once."""
    project_id = _project(door, caller, wanted.project_id)
    with door.sessions.begin() as session:
        made = keys.create(
            session, project_id=project_id, name=wanted.name, scopes=wanted.scopes, expires_at=wanted.expires_at
        )
        audit.record(
            session,
            "api_key.create",
            made.row.id,
            project_id=project_id,
            name=made.row.name,
            scopes=made.row.scopes,
        )
    return _shown_once(made, response)


@router.get("", responses=problems.responses(400, 404, 422))
def list_api_keys(
    door: DoorDep, caller: Administrator, place: PlaceDep, response: Response, project_id: ProjectQuery = None
) -> ApiKeyList:
    """All keys of the project, the newest first, also those that open nothing any more."""
    of = _project(door, caller, project_id)
    with door.sessions() as session:
        page = ApiKeyList.of(keys.page(session, place, project_id=of))
    if page.has_more and page.last_id:
        place.link(response, KEYS, page.last_id, project_id=project_id)
    return page


@router.get("/{key_id}", responses=problems.responses(404, 422))
def get_api_key(key_id: str, door: DoorDep, caller: Administrator, project_id: ProjectQuery = None) -> ApiKey:
    """A key, without its secret."""
    of = _project(door, caller, project_id)
    with door.sessions() as session:
        return ApiKey.of(keys.get(session, key_id, project_id=of))


@router.post("/{key_id}/rotate", status_code=201, responses=problems.responses(400, 404, 409, 413, 422))
def rotate_api_key(
    key_id: str,
    door: DoorDep,
    caller: Administrator,
    audit: AuditDep,
    response: Response,
    rotation: Annotated[Rotation, Body()] = Rotation(),  # noqa: B008  (frozen)
    project_id: ProjectQuery = None,
) -> CreatedApiKey:
    """Replace a key by a new one that may do the same. The answer shows it, this once."""
    of = _project(door, caller, project_id)
    overlap = timedelta(seconds=rotation.overlap_seconds)
    with door.sessions.begin() as session:
        made = keys.rotate(session, key_id, project_id=of, overlap=overlap)
        audit.record(
            session,
            "api_key.rotate",
            key_id,
            project_id=of,
            new_key=made.row.id,
            overlap_seconds=rotation.overlap_seconds,
        )
    return _shown_once(made, response)


@router.delete("/{key_id}", responses=problems.responses(404, 422))
def revoke_api_key(
    key_id: str, door: DoorDep, caller: Administrator, audit: AuditDep, project_id: ProjectQuery = None
) -> ApiKey:
    """Let a key open nothing any more, within seconds; its entry stays. Asking again changes nothing."""
    of = _project(door, caller, project_id)
    with door.sessions.begin() as session:
        row = keys.revoke(session, key_id, project_id=of)
        audit.record(session, "api_key.revoke", key_id, project_id=of, name=row.name)
    return ApiKey.of(row)


def _project(door: Door, caller: Caller, wanted: str | None) -> str:
    if wanted is None or wanted == caller.project_id:
        return caller.project_id
    if not caller.operates:
        raise errors.NotFound(f"There is no project {wanted!r}.")
    with door.sessions() as session:
        return projects.get(session, wanted).id


def _shown_once(made: NewKey, response: Response) -> CreatedApiKey:
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"{KEYS}/{made.row.id}"
    return CreatedApiKey.of(made.row, key=made.token)
