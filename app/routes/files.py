"""Uploaded training texts."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Annotated, Any

from anyio import from_thread, to_thread
from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from app import blocks, problems, quotas, removal, store, texts
from app.audit import AuditDep
from app.callers import JobReader, JobWriter
from app.deps import Door, DoorDep
from app.idempotency import Once, OnceDep
from app.limits import content_length
from app.schemas import File
from jobs import ids
from jobs.files import upload_key
from jobs.tables import FileRow
from jobs.uploads import Upload

router = APIRouter(prefix="/v1/files", tags=["files"])

BLOCK_BYTES = 256 * 2**10

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of the file, as they are: no form.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("", status_code=201, responses=problems.responses(404, 408, 409, 413, 415, 422, 429), openapi_extra=BODY)
async def upload_file(
    request: Request,
    name: Annotated[str, Query(max_length=1024, examples=["train.jsonl"]), AfterValidator(texts.clean_name)],
    door: DoorDep,
    caller: JobWriter,
    once: OnceDep,
) -> File:
    """Store a training text: plain UTF-8, or JSON objects line by line if the name ends in .jsonl."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise HTTPException(415, "Send the bytes of the file as the body, not a form (curl -T FILE, not -F).")
    if once.key is None:  # a repetition needs no room
        await to_thread.run_sync(_require_room, door, caller.project_id, content_length(request.scope))
    sent = blocks.of(request.stream(), BLOCK_BYTES)
    row = await to_thread.run_sync(_store, door, once, name, sent, limiter=door.uploads)
    return File.of(row)


@router.get("/{file_id}", responses=problems.responses(404, 422))
def get_file(file_id: str, door: DoorDep, caller: JobReader) -> File:
    """What is known of an uploaded file."""
    with door.sessions() as session:
        return File.of(store.file(session, file_id, project_id=caller.project_id))


@router.delete("/{file_id}", status_code=204, responses=problems.responses(403, 404, 409, 422))
def delete_file(file_id: str, door: DoorDep, caller: JobWriter, audit: AuditDep) -> None:
    """Remove an uploaded file that no waiting or running job needs."""
    with door.sessions.begin() as session:
        row = removal.remove_file(session, file_id, project_id=caller.project_id)
        audit.record(session, "file.delete", row.id, name=row.name)


def _require_room(door: Door, project_id: str, bytes: int) -> None:
    """So that a file for which there is no room is not sent for nothing."""
    with quotas.told_once(door.sessions, project_id), door.sessions.begin() as session:
        quotas.require_upload(session, project_id, door.settings, bytes)


def _store(door: Door, once: Once, name: str, sent: AsyncIterator[bytes]) -> FileRow:
    """Runs in a thread of its own, and fetches each block from the event loop."""
    file_id, project_id = ids.new("file"), once.project_id
    key = upload_key(file_id, name)

    def add(session: Session) -> FileRow:
        quotas.require_upload(session, project_id, door.settings, stored.bytes)
        return store.add_file(
            session, project_id=project_id, id=file_id, name=name, bytes=stored.bytes, sha256=stored.sha256
        )

    with door.files.upload(key, door.settings.max_upload_bytes) as upload:
        texts.check(name, _sent(upload, sent))
        stored = upload.finish()
    try:
        with quotas.told_once(door.sessions, project_id), door.sessions.begin() as session:
            row = once.run(
                session,
                f"{name}\0{stored.sha256}",
                first=partial(add, session),
                again=lambda earlier: store.file(session, earlier, project_id=project_id),
            )
    except BaseException:
        door.files.delete(key)
        raise
    if row.id != file_id:
        door.files.delete(key)
    return row


def _sent(upload: Upload, blocks: AsyncIterator[bytes]) -> Iterator[bytes]:
    while block := from_thread.run(_next, blocks):
        upload.write(block)
        yield block


async def _next(blocks: AsyncIterator[bytes]) -> bytes:
    return await anext(blocks, b"")
