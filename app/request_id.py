"""Every exchange has an id, which the client may choose; every failure leaves as a problem."""

import logging
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import problems
from jobs import ids, logs, tracing

HEADER = "X-Request-Id"
THEIRS = "X-Amzn-Trace-Id"  # what clients of the Hub call it
ACCEPTED = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)

logger = logging.getLogger(__name__)


class RequestId:
    """Echoes X-Request-Id, and answers for what no handler knew."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(HEADER) or headers.get(THEIRS, "")
        request_id = given if ACCEPTED.fullmatch(given) else ids.new("req")
        scope.setdefault("state", {})["request_id"] = request_id
        logs.note(request_id=request_id)
        # Else FastAPI is in a span of its own already.
        tracing.go_on(headers.get(tracing.TRACEPARENT))
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            if started:
                raise  # the server breaks the connection, which tells the client that the answer is not whole
            logger.exception("%s %s failed", scope["method"], scope["path"])
            await problems.unexpected(scope)(scope, receive, send_with_id)
