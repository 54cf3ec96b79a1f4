"""What is kept of each exchange once it is over: a line in the log, and how long it took."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import Metrics

# Asked every few seconds by machines; of interest only when they fail.
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})

logger = logging.getLogger(__name__)


class Access:
    """Logs a line for each exchange. The query is left out: it may hold what only the client and we should know."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

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
            seconds = time.perf_counter() - began
            self._metrics.exchanged(scope["method"], _route(scope), status, seconds)
            _tell(scope, status, seconds)


def _route(scope: Scope) -> str:
    """The route as it is written in the code: of the ids that paths hold, there is no end."""
    return getattr(scope.get("route"), "path", "none")


def _tell(scope: Scope, status: int, seconds: float) -> None:
    level = logging.DEBUG if scope["path"] in PROBES and status < 400 else logging.INFO
    client = scope.get("client")
    about = {"status": status, "seconds": round(seconds, 4), "client": client[0] if client else None}
    logger.log(level, "%s %s", scope["method"], scope["path"], extra=about)
