"""Contents that are sent in as many requests as it takes: what has come stays, and the client asks where to go on."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from anyio import from_thread, to_thread
from fastapi import APIRouter, Header, Request, Response

from app import blocks, incoming, problems, quotas, uploads
from app.audit import AuditDep
from app.callers import ModelWriter
from app.deps import Door, DoorDep
from app.upload_schemas import UPLOADS, NewUpload, Upload
from jobs import ids
from jobs.errors import BodyMismatch, BodyTooLarge, NotFound, OffsetMismatch
from jobs.upload_tables import UploadRow

router = APIRouter(prefix=UPLOADS, tags=["uploads"])

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes from Upload-Offset on, as many as you like.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("", status_code=201, responses=problems.responses(400, 413, 422))
def begin_upload(wanted: NewUpload, door: DoorDep, caller: ModelWriter, response: Response) -> Upload:
    """Announce a content by its hash. Asking again leads to the same upload, at its offset: nothing is sent twice."""
    with door.sessions() as session:
        row = uploads.find(session, wanted.sha256, project_id=caller.project_id)
    if row is None:
        row = _begin(door, caller.project_id, wanted)
    elif row.bytes != wanted.bytes:
        raise BodyMismatch(f"The upload with this hash has {row.bytes} bytes, not {wanted.bytes}.")
    response.headers["Location"] = f"{UPLOADS}/{row.id}"
    return _shown(row)


@router.get("/{upload_id}", responses=problems.responses(404, 422))
def get_upload(upload_id: str, door: DoorDep, caller: ModelWriter, response: Response) -> Upload:
    """Where an upload stands; Upload-Offset says so too."""
    with door.sessions() as session:
        row = uploads.get(session, upload_id, project_id=caller.project_id)
    response.headers["Upload-Offset"] = str(row.offset)
    return _shown(row)


@router.patch("/{upload_id}", responses=problems.responses(400, 404, 408, 409, 413, 422), openapi_extra=BODY)
async def continue_upload(
    upload_id: str,
    request: Request,
    door: DoorDep,
    caller: ModelWriter,
    response: Response,
    upload_offset: Annotated[int, Header(ge=0, lt=2**63, description="Where these bytes begin.")],
) -> Upload:
    """Send what follows. If the connection breaks, whole parts stay; with the last byte the hash is checked."""
    sent = blocks.of(request.stream(), incoming.SMALLEST_PART)
    row = await to_thread.run_sync(_take, door, caller.project_id, upload_id, upload_offset, sent, limiter=door.uploads)
    response.headers["Upload-Offset"] = str(row.offset)
    return _shown(row)


@router.delete("/{upload_id}", status_code=204, responses=problems.responses(404, 422))
def discard_upload(upload_id: str, door: DoorDep, caller: ModelWriter, audit: AuditDep) -> None:
    """Forget an upload, complete or not; versions that were made of it stay."""
    with door.sessions.begin() as session:
        row = uploads.get(session, upload_id, project_id=caller.project_id)
        session.delete(row)
        audit.record(session, "upload.delete", row.id, sha256=row.sha256)
    if row.completed_at is None:
        door.incoming.discard(row.id, row.storage_id)


def _begin(door: Door, project_id: str, wanted: NewUpload) -> UploadRow:
    upload_id = ids.new("upl")
    with quotas.told_once(door.sessions, project_id), door.sessions.begin() as session:
        quotas.require_upload(session, project_id, door.settings, wanted.bytes)
        is_here = uploads.has(session, wanted.sha256, wanted.bytes, project_id=project_id)
    storage_id = None if is_here else door.incoming.begin(upload_id)
    with quotas.told_once(door.sessions, project_id), door.sessions.begin() as session:
        quotas.require_upload(session, project_id, door.settings, wanted.bytes)
        row = uploads.add(
            session,
            id=upload_id,
            project_id=project_id,
            bytes=wanted.bytes,
            sha256=wanted.sha256,
            storage_id=storage_id,
        )
    if row is not None:
        return row
    if storage_id is not None:
        door.incoming.discard(upload_id, storage_id)
    with door.sessions() as session:
        other = uploads.find(session, wanted.sha256, project_id=project_id)
    if other is None:
        raise OffsetMismatch("The same upload was begun and removed at this moment.", hint="Begin it again.")
    return other


def _take(door: Door, project_id: str, upload_id: str, offset: int, blocks: AsyncIterator[bytes]) -> UploadRow:
    """Runs in a thread of its own, and fetches each block from the event loop."""
    with door.sessions() as session:
        row = uploads.get(session, upload_id, project_id=project_id)
    if row.completed_at is not None:
        return row
    if offset != row.offset:
        raise OffsetMismatch(f"The upload stands at {row.offset}, not at {offset}.", hint="Go on from there.")
    size, part = incoming.part_bytes(row.bytes), bytearray()
    while row.offset < row.bytes and (block := from_thread.run(_next, blocks)):
        part += block
        if row.offset + len(part) > row.bytes:
            raise BodyTooLarge(f"More was sent than the {row.bytes} bytes announced.")
        while len(part) >= size or (part and row.offset + len(part) == row.bytes):
            row = _store(door, row, bytes(part[:size]))
            del part[:size]
    return _finish(door, row) if row.offset == row.bytes else row


def _store(door: Door, row: UploadRow, part: bytes) -> UploadRow:
    etag = door.incoming.send(row.id, row.storage_id, len(row.etags) + 1, part)
    with door.sessions.begin() as session:
        return uploads.advance(session, row, row.offset + len(part), etag)


def _finish(door: Door, row: UploadRow) -> UploadRow:
    try:
        door.incoming.finish(row.id, row.storage_id, row.etags, row.bytes, row.sha256)
    except BodyMismatch:
        with door.sessions.begin() as session:
            uploads.forget(session, row.id)
        raise
    except NotFound as error:
        raise OffsetMismatch("Another request ends the upload.", hint="Ask for it once more.") from error
    with door.sessions.begin() as session:
        return uploads.complete(session, row.id)


async def _next(blocks: AsyncIterator[bytes]) -> bytes:
    return await anext(blocks, b"")


def _shown(row: UploadRow) -> Upload:
    return Upload.of(row, incoming.part_bytes(row.bytes))
