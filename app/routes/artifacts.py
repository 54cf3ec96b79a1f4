"""What a job has published: list and download."""

import base64
import mimetypes
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from starlette.concurrency import iterate_in_threadpool

from app import problems, ranges, store
from app.callers import ModelReader
from app.deps import Door, DoorDep
from app.schemas import JOBS, ArtifactList
from jobs import errors
from jobs.files import attachment, blob_key
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
    row = _row(door, caller.project_id, job_id, path)
    headers = _headers(row)
    if ranges.is_unchanged(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(headers={**headers, "Content-Length": str(row.bytes)}, media_type=_media_type(path))


@router.get("/{path:path}", response_class=Response, responses=DOWNLOADS)
def get_artifact(
    job_id: str,
    path: str,
    door: DoorDep,
    caller: ModelReader,
    range: Annotated[str | None, Header(description="One range: bytes=a-b, bytes=a- or bytes=-n.")] = None,
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The bytes of a published file; a broken download goes on with Range and If-Range."""
    row = _row(door, caller.project_id, job_id, path)
    headers = _headers(row)
    if ranges.is_unchanged(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    key = blob_key(row.sha256)
    if door.settings.s3_public_endpoint:
        return RedirectResponse(door.files.presign(key, PurePosixPath(path).name), 307, {"ETag": headers["ETag"]})
    span = ranges.requested(range, row.bytes) if ranges.may_continue(if_range, headers["ETag"]) else None
    status = 206 if span else 200
    if span:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{row.bytes}"
    span = span or ranges.Span(0, row.bytes)
    headers["Content-Length"] = str(span.end - span.start)
    try:
        pieces = door.files.open_range(key, span.start, span.end)
    except errors.NotFound as error:
        raise errors.StorageUnavailable(f"The bytes of {row.path} ({key}) are not in object storage.") from error
    return StreamingResponse(_stream(pieces, door.metrics.downloaded.inc), status, headers, _media_type(path))


async def _stream(pieces: Iterator[bytes], sent: Callable[[float], None]) -> AsyncIterator[bytes]:
    try:
        async for piece in iterate_in_threadpool(pieces):
            yield piece
            sent(len(piece))
    finally:
        # A client that goes away must not leave the connection to the storage open.
        if close := getattr(pieces, "close", None):
            close()


def _row(door: Door, project_id: str, job_id: str, path: str) -> RevisionFileRow:
    with door.sessions() as session:
        return store.artifact(session, job_id, path, project_id=project_id)


def _headers(row: RevisionFileRow) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(row.sha256)).decode()
    return {
        "ETag": f'"{row.sha256}"',
        "Accept-Ranges": "bytes",
        "Content-Disposition": attachment(PurePosixPath(row.path).name),
        "Repr-Digest": f"sha-256=:{digest}:",
        "X-Content-Type-Options": "nosniff",
    }


def _media_type(path: str) -> str:
    return mimetypes.guess_type(path)[0] or "application/octet-stream"
