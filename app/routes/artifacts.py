"""What a job has published: list and download."""

import base64
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from app import download_counts, downloads, problems, store
from app.callers import ModelReader
from app.deps import DoorDep
from app.downloads import AskedDep, Content
from app.schemas import JOBS, ArtifactList
from jobs.files import attachment
from jobs.registry_tables import RevisionFileRow

router = APIRouter(prefix=JOBS + "/{job_id}/artifacts", tags=["artifacts"])

BINARY: dict[str, Any] = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
DOWNLOADS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", **BINARY},
    206: {"description": "The bytes that Range asked for.", **BINARY},
    304: {"description": "If-None-Match named this very content."},
    307: {"description": "The bytes are at Location, which needs no key and holds for some hours."},
    **problems.responses(404, 416, 422),
}


@router.get("", responses=problems.responses(404, 422))
def list_artifacts(job_id: str, door: DoorDep, caller: ModelReader) -> ArtifactList:
    """The published files, by path; none before the job has succeeded."""
    with door.sessions() as session:
        return ArtifactList.of(store.artifacts(session, job_id, project_id=caller.project_id))


@router.head("/{path:path}", response_class=Response, responses=DOWNLOADS)
def head_artifact(
    job_id: str,
    path: str,
    door: DoorDep,
    caller: ModelReader,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """What a download would answer, without the bytes."""
    with door.sessions() as session:
        file = store.artifact(session, job_id, path, project_id=caller.project_id)
    return downloads.about(_content(file), if_none_match)


@router.get("/{path:path}", response_class=Response, responses=DOWNLOADS)
def get_artifact(
    job_id: str, path: str, door: DoorDep, caller: ModelReader, request: Request, asked: AskedDep
) -> Response:
    """The bytes of a published file; a broken download goes on with Range and If-Range."""
    with door.sessions.begin() as session:
        file = store.artifact(session, job_id, path, project_id=caller.project_id)
        if download_counts.counts(path, request.headers):
            download_counts.count(session, file, caller)
    content = _content(file)
    if downloads.is_elsewhere(door, request):
        return downloads.link(door, content, asked, 307)
    return downloads.send(door, content, asked)


def _content(file: RevisionFileRow) -> Content:
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    headers = {
        "Content-Disposition": attachment(PurePosixPath(file.path).name),
        "Repr-Digest": f"sha-256=:{digest}:",
        "X-Content-Type-Options": "nosniff",
    }
    return Content(file.path, file.bytes, file.sha256, f'"{file.sha256}"', headers, downloads.media_type(file.path))
