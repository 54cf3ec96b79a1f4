"""Sending the bytes of a published file: whole, in part, or by a link to where they are."""

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

from anyio import CancelScope, to_thread
from fastapi import Depends, Header, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from app import ranges
from app.deps import Door
from jobs import errors
from jobs.files import blob_key

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Content:
    """A file to send; `headers` go with each answer about it."""

    path: str
    bytes: int
    sha256: str
    etag: str  # with its quotes
    headers: dict[str, str]
    media_type: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Asked:
    """Which bytes, and under which condition."""

    range: str | None
    if_range: str | None
    if_none_match: str | None


def _asked(
    range: Annotated[str | None, Header(description="One range: bytes=a-b, bytes=a- or bytes=-n.")] = None,
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Asked:
    return Asked(range, if_range, if_none_match)


AskedDep = Annotated[Asked, Depends(_asked)]


def media_type(path: str) -> str:
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


def about(content: Content, if_none_match: str | None) -> Response:
    """What sending it would answer, without the bytes."""
    headers = {"ETag": content.etag, "Accept-Ranges": "bytes", **content.headers}
    if ranges.is_unchanged(if_none_match, content.etag):
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(content.bytes)
    return Response(headers=headers, media_type=content.media_type)


def is_elsewhere(door: Door, request: Request) -> bool:
    """Whether clients reach the storage itself, at another origin than the one that they ask here.

    At the same one they would send their key along, which the storage takes for its own and refuses.
    """
    public = door.settings.s3_public_endpoint
    return public is not None and _origin(public) != _origin(str(request.base_url))


def link(door: Door, content: Content, asked: Asked, status: int) -> Response:
    """To the bytes in the storage; it needs no key and holds for some hours."""
    if ranges.is_unchanged(asked.if_none_match, content.etag):
        return Response(status_code=304, headers={"ETag": content.etag, **content.headers})
    url = door.files.presign(blob_key(content.sha256), content.name)
    return RedirectResponse(url, status, {"ETag": content.etag, **content.headers})


def send(door: Door, content: Content, asked: Asked) -> Response:
    """The bytes; a broken download goes on with Range and If-Range.

    Raises:
        RangeNotSatisfiable: the range begins beyond the end.
        StorageUnavailable: the storage does not answer, or does not have them.
    """
    headers = {"ETag": content.etag, "Accept-Ranges": "bytes", **content.headers}
    if ranges.is_unchanged(asked.if_none_match, content.etag):
        return Response(status_code=304, headers=headers)
    continues = ranges.may_continue(asked.if_range, content.etag)
    span = ranges.requested(asked.range, content.bytes) if continues else None
    status = 206 if span else 200
    if span:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{content.bytes}"
    span = span or ranges.Span(0, content.bytes)
    headers["Content-Length"] = str(span.end - span.start)
    key = blob_key(content.sha256)
    try:
        pieces = door.files.open_range(key, span.start, span.end)
    except errors.NotFound as error:
        raise errors.StorageUnavailable(f"The bytes of {content.path} ({key}) are not in object storage.") from error
    return StreamingResponse(_stream(pieces, door.metrics.downloaded.inc), status, headers, content.media_type)


async def _stream(pieces: Iterator[bytes], sent: Callable[[float], None]) -> AsyncIterator[bytes]:
    """The next piece comes from the storage while one goes to the client: two of them are held at once."""
    coming = asyncio.create_task(_next(pieces))
    try:
        while piece := await asyncio.shield(coming):
            coming = asyncio.create_task(_next(pieces))
            yield piece
            sent(len(piece))
    finally:
        # A client that goes away must not leave the connection to the storage open, which is in use for a piece still.
        with CancelScope(shield=True):
            await asyncio.wait([coming])
        if close := getattr(pieces, "close", None):
            close()


async def _next(pieces: Iterator[bytes]) -> bytes:
    return await to_thread.run_sync(next, pieces, b"")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
