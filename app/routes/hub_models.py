"""What the clients of the Hugging Face Hub ask of models, answered from the database alone."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, quote, urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from app import hub_documents, hub_headers, registry, repositories, trees
from app.callers import CallerDep
from app.deps import DoorDep
from app.hub_documents import Json
from app.hub_problems import ROOT
from app.repositories import Repository
from jobs.errors import EntryNotFound
from jobs.registry_tables import ModelRow, RevisionFileRow, RevisionRow
from jobs.revisions import MAIN

MODELS = f"{ROOT}/api/models"
ONE = MODELS + "/{namespace}/{name}"
MOST = 1000

ORDERS: dict[str, repositories.Column] = {
    "downloads": ModelRow.downloads,
    "createdAt": ModelRow.created_at,
    "created_at": ModelRow.created_at,
    "lastModified": ModelRow.updated_at,
    "last_modified": ModelRow.updated_at,
}

router = APIRouter(include_in_schema=False)

Limit = Annotated[int, Query(ge=1)]


@dataclass(frozen=True)
class Snapshot:
    """A revision that is asked about, with all its files."""

    repository: Repository
    revision: RevisionRow
    files: list[RevisionFileRow]


def _snapshot(
    namespace: str, name: str, door: DoorDep, caller: CallerDep, response: Response, revision: str = MAIN
) -> Snapshot:
    with door.sessions() as session:
        repository = repositories.find(session, namespace, name, caller)
        row = repositories.revision(session, repository, revision)
        files = registry.files(session, row)
    hub_headers.add(response.headers, repository, row)
    return Snapshot(repository, row, files)


SnapshotDep = Annotated[Snapshot, Depends(_snapshot)]


@router.get(MODELS)
def list_models(
    door: DoorDep,
    caller: CallerDep,
    request: Request,
    response: Response,
    author: str | None = None,
    search: str | None = None,
    sort: str = "lastModified",
    limit: Limit = 100,
    cursor: str | None = None,
) -> list[Json]:
    """The models that the caller may see, the newest first unless `sort` says otherwise."""
    order = ORDERS.get(sort, ModelRow.updated_at)
    most = min(limit, MOST)
    with door.sessions() as session:
        found = repositories.page(
            session, caller, order=order, author=author, search=search, limit=most + 1, after=cursor
        )
    page = found[:most]
    if len(found) > most:
        given = {"author": author, "search": search, "sort": sort, "limit": limit}
        _link(request, response, MODELS, given, cursor=page[-1].repository.model.id)
    return [hub_documents.model(each.repository, each.revision) for each in page]


@router.get(ONE)
@router.get(ONE + "/revision/{revision}")
def model_info(snapshot: SnapshotDep, blobs: bool = False) -> Json:
    """A model at one revision; what else clients ask for in the query is left out or there already."""
    return hub_documents.info(snapshot.repository, snapshot.revision, snapshot.files, blobs=blobs)


@router.get(ONE + "/tree/{revision}")
@router.get(ONE + "/tree/{revision}/{path:path}")
def tree(
    snapshot: SnapshotDep,
    revision: str,
    request: Request,
    response: Response,
    path: str = "",
    recursive: bool = False,
    expand: bool = False,
    limit: Limit = MOST,
    cursor: str = "",
) -> list[Json]:
    """What lies in a folder of a revision, in pages."""
    path = path.strip("/")
    entries = trees.entries(snapshot.files, path, recursive=recursive)
    if entries is None:
        raise EntryNotFound(f"There is no folder {path!r} in this revision.", commit=snapshot.revision.commit)
    most = min(limit, MOST)
    rest = [entry for entry in entries if entry.path > cursor]
    if len(rest) > most:
        here = f"{MODELS}/{snapshot.repository.id}/tree/{quote(revision, safe='')}/{quote(path)}".rstrip("/")
        given = {"recursive": recursive, "expand": expand, "limit": limit}
        _link(request, response, here, given, cursor=rest[most - 1].path)
    return [hub_documents.entry(entry, snapshot.revision, expand=expand) for entry in rest[:most]]


async def _form(request: Request) -> dict[str, list[str]]:
    return parse_qs((await request.body()).decode("utf-8", "replace"))


@router.post(ONE + "/paths-info/{revision}")
def paths_info(snapshot: SnapshotDep, form: Annotated[dict[str, list[str]], Depends(_form)]) -> list[Json]:
    """Some files and folders of a revision; those that are not there are left out."""
    found = (trees.entry(snapshot.files, path.strip("/")) for path in form.get("paths", []))
    expand = form.get("expand", [""])[0].lower() == "true"
    return [hub_documents.entry(entry, snapshot.revision, expand=expand) for entry in found if entry]


@router.get(ONE + "/refs")
def refs(namespace: str, name: str, door: DoorDep, caller: CallerDep) -> Json:
    """The names of a model's revisions."""
    with door.sessions() as session:
        repository = repositories.find(session, namespace, name, caller)
        return hub_documents.refs(registry.refs(session, repository.model.id))


@router.get(ONE + "/commits/{revision}")
def commits(
    namespace: str,
    name: str,
    revision: str,
    door: DoorDep,
    caller: CallerDep,
    request: Request,
    response: Response,
    limit: Limit = MOST,
    cursor: str | None = None,
) -> list[Json]:
    """A revision and those published before it, the newest first."""
    most = min(limit, MOST)
    with door.sessions() as session:
        repository = repositories.find(session, namespace, name, caller)
        row = repositories.revision(session, repository, revision)
        older = registry.revisions(session, row.model_id, limit=most + 1, after=cursor or row.commit)
    found = older if cursor else [row, *older]
    hub_headers.add(response.headers, repository, row)
    if len(found) > most:
        here = f"{MODELS}/{repository.id}/commits/{quote(revision, safe='')}"
        _link(request, response, here, {"limit": limit}, cursor=found[most - 1].commit)
    return [hub_documents.commit(repository, each) for each in found[:most]]


@router.get(ONE + "/auth-check")
def auth_check(namespace: str, name: str, door: DoorDep, caller: CallerDep) -> dict[Literal["ok"], bool]:
    """Whether the caller may read a model: else it is not there."""
    with door.sessions() as session:
        repositories.find(session, namespace, name, caller)
    return {"ok": True}


def _link(request: Request, response: Response, path: str, given: dict[str, Any], *, cursor: str) -> None:
    """Name the next page; clients follow absolute addresses only."""
    query = {name: str(value).lower() if value in (True, False) else value for name, value in given.items()}
    query = {name: value for name, value in query.items() if value is not None}
    address = f"{str(request.base_url).rstrip('/')}{path}?{urlencode({**query, 'cursor': cursor})}"
    response.headers["Link"] = f'<{address}>; rel="next"'
