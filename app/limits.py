"""What a client may send, before anybody looks at what it means."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import problems
from jobs import errors
from jobs.settings import Settings

UPLOAD_PATHS = ("/v1/files", "/v1/uploads/")


class Limits:
    """Refuses a body over the limit, by its Content-Length if it has one and by counting in any case, and NULs."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            # No name of ours has one, and the database would stumble over it.
            refusal = errors.RequestRefused("An address cannot hold a NUL character.")
            await problems.answer(scope, refusal)(scope, receive, send)
            return
        is_upload = scope["path"] == UPLOAD_PATHS[0] or scope["path"].startswith(UPLOAD_PATHS[1])
        limit = self._settings.max_upload_bytes if is_upload else self._settings.max_body_bytes
        announced = content_length(scope)
        received = 0

        async def counted() -> Message:
            nonlocal received
            if announced > limit:
                raise _too_large(limit)
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit)
            return message

        await self.app(scope, counted, send)


def content_length(scope: Scope) -> int:
    """The announced bytes of the body; 0 if they are not known."""
    announced = Headers(scope=scope).get("content-length", "")
    return int(announced) if announced.isdecimal() and len(announced) < 20 else 0


def _too_large(limit: int) -> HTTPException:
    # FastAPI lets only this class of errors through while it reads a body.
    return HTTPException(413, f"The body is larger than {limit} bytes, the limit.")
