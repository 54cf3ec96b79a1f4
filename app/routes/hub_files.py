"""Files of models, as the clients of the Hugging Face Hub fetch them, and all that is not there for them."""

from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app import download_counts, downloads, hub_headers, repositories
from app.callers import CallerDep
from app.deps import DoorDep
from app.downloads import AskedDep, Content
from app.hub_problems import ROOT
from jobs.errors import Forbidden, RepositoryNotFound
from jobs.files import attachment
from jobs.registry_tables import RevisionFileRow
from jobs.revisions import MAIN

REPOSITORY = ROOT + "/{namespace}/{name}"
CARD = "README.md"

router = APIRouter(include_in_schema=False)


@router.api_route(REPOSITORY + "/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
def resolve(
    namespace: str,
    name: str,
    revision: str,
    path: str,
    door: DoorDep,
    caller: CallerDep,
    request: Request,
    asked: AskedDep,
) -> Response:
    """A file, or with HEAD what there is to know of it; large ones from the storage itself where clients reach that."""
    with door.sessions.begin() as session:
        repository = repositories.find(session, namespace, name, caller)
        row = repositories.revision(session, repository, revision)
        file = repositories.file(session, row, path)
        if download_counts.counts(path, request.headers):
            download_counts.count(session, file, caller)
    content = _content(file)
    if file.is_large and downloads.is_elsewhere(door, request):
        answer = downloads.link(door, content, asked, 302)
        # The length of a redirect is not that of the file.
        answer.headers["X-Linked-Size"] = str(file.bytes)
        answer.headers["X-Linked-ETag"] = content.etag
    elif request.method == "HEAD":
        answer = downloads.about(content, asked.if_none_match)
    else:
        answer = downloads.send(door, content, asked)
    hub_headers.add(answer.headers, repository, row)
    return answer


@router.get(REPOSITORY)
@router.get(REPOSITORY + "/tree/{revision}")
@router.get(REPOSITORY + "/tree/{revision}/{path:path}")
@router.get(REPOSITORY + "/blob/{revision}/{path:path}")
def page(
    namespace: str,
    name: str,
    door: DoorDep,
    caller: CallerDep,
    revision: str = MAIN,
    path: str = "",
) -> Response:
    """Where a person is sent who follows a link to a model: to its card."""
    with door.sessions() as session:
        repository = repositories.find(session, namespace, name, caller)
        repositories.revision(session, repository, revision)
    return RedirectResponse(f"{ROOT}/{repository.id}/resolve/{quote(revision, safe='')}/{CARD}", 302)


# Below all others: what no route above knows.
@router.api_route(ROOT + "/{rest:path}", methods=["POST", "PUT", "PATCH", "DELETE"])
async def write() -> Response:
    raise Forbidden("read-only endpoint")


@router.api_route(ROOT + "/{rest:path}", methods=["GET", "HEAD"])
async def nothing(rest: str, request: Request) -> Response:
    raise RepositoryNotFound(f"There is nothing at {request.url.path}; models are called namespace/name.")


def _content(file: RevisionFileRow) -> Content:
    """Small files are shown as plain text, whatever they hold, so that no browser runs what a model brings."""
    headers = {"X-Content-Type-Options": "nosniff"}
    if not file.is_large:
        return Content(file.path, file.bytes, file.sha256, f'"{file.git_oid}"', headers, "text/plain; charset=utf-8")
    headers["Content-Disposition"] = attachment(file.path.rpartition("/")[2])
    return Content(file.path, file.bytes, file.sha256, f'"{file.sha256}"', headers, "application/octet-stream")
