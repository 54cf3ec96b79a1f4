"""How many requests a key may make in a window of time, counted in the broker so that all processes count together.

The broker may be down: then nobody is held back, for a job must be accepted all the same.
"""

import logging
import math
import time
from dataclasses import dataclass

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import problems
from app.callers import Caller
from jobs import errors
from jobs.settings import Settings

PATIENCE_SECONDS = 0.25
PAUSE_SECONDS = 5.0  # before a silent broker is asked again
CONNECTIONS = 16

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Window:
    """Where a key stands in its present window."""

    limit: int
    seconds: int
    used: int
    resets_in: int

    @property
    def exceeded(self) -> bool:
        return self.used > self.limit

    @property
    def headers(self) -> dict[str, str]:
        """As clients of the hub read them."""
        return {
            "RateLimit": f'"api";r={max(0, self.limit - self.used)};t={self.resets_in}',
            "RateLimit-Policy": f'"fixed window";"api";q={self.limit};w={self.seconds}',
        }


class Counter:
    """Requests by key, in fixed windows that begin with a key's first request."""

    def __init__(self, settings: Settings) -> None:
        self._limit, self._seconds = settings.rate_limit_requests, settings.rate_limit_seconds
        pool = BlockingConnectionPool.from_url(
            settings.broker_url.get_secret_value(),
            max_connections=CONNECTIONS,
            timeout=PATIENCE_SECONDS,
            socket_timeout=PATIENCE_SECONDS,
            socket_connect_timeout=PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._broker = Redis(connection_pool=pool)
        self._silent_until: float | None = None

    async def count(self, caller: Caller) -> Window | None:
        """One more request of this caller; None if nothing is counted, or the broker is down."""
        if not self._limit or (self._silent_until is not None and time.monotonic() < self._silent_until):
            return None
        try:
            used, milliseconds = await self._increment(f"prunery:requests:{caller.key_id or caller.key_name}")
        except (RedisError, OSError) as error:
            if self._silent_until is None:
                logger.warning("The broker does not answer, so that no rate is limited: %s", error)
            self._silent_until = time.monotonic() + PAUSE_SECONDS
            return None
        if self._silent_until is not None:
            logger.info("The broker answers again; rates are limited.")
            self._silent_until = None
        return Window(self._limit, self._seconds, used, resets_in=max(1, math.ceil(milliseconds / 1000)))

    async def close(self) -> None:
        await self._broker.aclose(close_connection_pool=True)

    async def _increment(self, name: str) -> tuple[int, int]:
        async with self._broker.pipeline() as pipeline:
            pipeline.incr(name)
            pipeline.expire(name, self._seconds, nx=True)
            pipeline.pttl(name)
            used, _, milliseconds = await pipeline.execute()
        return used, milliseconds


class RateLimits:
    """Tells each caller where they stand, and answers 429 to those who ask too often."""

    def __init__(self, app: ASGIApp, counter: Counter) -> None:
        self.app = app
        self._counter = counter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller | None = scope.get("state", {}).get("caller")
        window = None if caller is None else await self._counter.count(caller)
        if window is None:
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(window.headers)
            await send(message)

        if window.exceeded:
            refusal = errors.RateLimited(
                f"This key may make {window.limit} requests in {window.seconds} seconds.",
                hint=f"Ask again in {window.resets_in} seconds.",
                seconds=window.resets_in,
            )
            await problems.answer(scope, refusal)(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)
