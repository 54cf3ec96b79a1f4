"""Projects and API keys, through the service's HTTP API."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

from cli.client import Client
from cli.resources import Resource

KEYS, PROJECTS = "/v1/api_keys", "/v1/projects"


class ApiKey(Resource):
    """A key of a project; `key` is there only in the answer that made it."""

    id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    key: str | None = None


class Project(Resource):
    """A tenant, with the limits that are its own."""

    id: str
    name: str
    max_running: int | None = None
    max_queued: int | None = None
    max_storage_bytes: int | None = None
    max_uploaded_bytes: int | None = None


def keys(client: Client, project_id: str | None) -> Iterator[ApiKey]:
    """All keys, the newest first."""
    return client.pages(ApiKey, KEYS, _of(project_id))


def create_key(
    client: Client, name: str, scopes: Sequence[str], *, expires_at: datetime | None, project_id: str | None
) -> ApiKey:
    wanted = {"name": name, "scopes": list(scopes), "expires_at": expires_at and expires_at.isoformat()}
    return client.call(ApiKey, "POST", KEYS, json=wanted | _of(project_id))


def rotate_key(client: Client, key_id: str, *, overlap_seconds: int, project_id: str | None) -> ApiKey:
    body = {"overlap_seconds": overlap_seconds}
    return client.call(ApiKey, "POST", f"{_below(KEYS, key_id)}/rotate", json=body, params=_of(project_id))


def revoke_key(client: Client, key_id: str, *, project_id: str | None) -> ApiKey:
    return client.call(ApiKey, "DELETE", _below(KEYS, key_id), params=_of(project_id))


def projects(client: Client) -> Iterator[Project]:
    """All projects: the default one, then the newest first."""
    return client.pages(Project, PROJECTS)


def create_project(client: Client, name: str, limits: Mapping[str, int | None]) -> Project:
    return client.call(Project, "POST", PROJECTS, json={"name": name, **limits})


def change_project(client: Client, project_id: str, values: Mapping[str, int | str | None]) -> Project:
    return client.call(Project, "PATCH", _below(PROJECTS, project_id), json=values)


def remove_project(client: Client, project_id: str) -> None:
    client.delete(_below(PROJECTS, project_id))


def _of(project_id: str | None) -> dict[str, str]:
    return {} if project_id is None else {"project_id": project_id}


def _below(path: str, id: str) -> str:
    return f"{path}/{quote(id, safe='')}"
