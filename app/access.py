"""What is told of each exchange once it is over."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Asked every few seconds by machines; of interest only when they fail.
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})

logger = logging.getLogger(__name__)


class Access:
    """Logs a line for each exchange. The query is left out: it may hold what only the client and we should know."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_see)
        finally:
            _tell(scope, status, time.perf_counter() - began)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    level = logging.DEBUG if scope["path"] in PROBES and status < 400 else logging.INFO
    client = scope.get("client")
    about = {"status": status, "seconds": round(seconds, 4), "client": client[0] if client else None}
    logger.log(level, "%s %s", scope["method"], scope["path"], extra=about)
