"""What the service depends on, and how each part of it fares."""

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from threading import Lock, Thread

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from jobs import errors, meters
from jobs.files import Files
from jobs.settings import Settings

# A load balancer asks often and waits for little.
PATIENCE_SECONDS = 2.0
REMEMBERED_SECONDS = 1.0
# Longer than any of them is quiet while it works.
SILENT_SECONDS = 60.0

NEEDED = ("database", "object storage")
SEEN = {
    "relay": "queued jobs are not announced, and lost ones not put back",
    "webhooks": "nobody is told what happens to jobs",
    "workers": "queued jobs wait",
}

AGES = """
SELECT labels::json ->> 'part', extract(epoch FROM now()) - value FROM meters WHERE name = :seen
UNION ALL SELECT 'workers', extract(epoch FROM now() - max(seen_at)) FROM workers
WHERE fault IS NULL HAVING count(*) > 0
"""
FAULTY = """
SELECT string_agg(DISTINCT host, ', ') FROM workers
WHERE fault IS NOT NULL AND seen_at > now() - make_interval(secs => :silent)
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """What is wrong, by part, in words that anybody may read; nothing can be done without those in `missing`."""

    missing: Mapping[str, str] = field(default_factory=dict)
    degraded: Mapping[str, str] = field(default_factory=dict)


Check = Callable[[], Mapping[str, str]]


class Readiness:
    """Looks at everything at once, no longer than a moment, and no more than once a second."""

    def __init__(self, settings: Settings, engine: Engine, files: Files) -> None:
        self._engine = engine
        self._files = files
        self._broker = Redis.from_url(
            settings.broker_url.get_secret_value(),
            socket_timeout=PATIENCE_SECONDS,
            socket_connect_timeout=PATIENCE_SECONDS,
            retry_on_timeout=False,
        )
        self._checks: dict[str, Check] = {
            "database": self._database,
            "object storage": self._storage,
            "broker": self._ask_broker,
        }
        self._running: dict[str, Future[Mapping[str, str]]] = {}
        self._lock = Lock()
        self._report, self._until = Report(), 0.0

    def report(self) -> Report:
        """How things are now, or were a second ago."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._report = self._look()
                self._until = time.monotonic() + REMEMBERED_SECONDS
            return self._report

    def close(self) -> None:
        self._broker.close()

    def _look(self) -> Report:
        for name, check in self._checks.items():
            # One that still hangs is waited for, not asked a second time.
            if name not in self._running or self._running[name].done():
                self._running[name] = _started(check)
        wait(self._running.values(), PATIENCE_SECONDS)
        found: dict[str, str] = {}
        for name, running in self._running.items():
            found |= running.result() if running.done() else {name: "it does not answer in time"}
        if found:
            logger.warning("not all is well: %s", found)
        return Report(
            {name: words for name, words in found.items() if name in NEEDED},
            {name: words for name, words in found.items() if name not in NEEDED},
        )

    def _database(self) -> Mapping[str, str]:
        try:
            with self._engine.connect() as connection:
                ages = {part: float(age) for part, age in connection.execute(text(AGES), {"seen": meters.SEEN})}
                faulty = connection.scalar(text(FAULTY), {"silent": SILENT_SECONDS})
        except SQLAlchemyError as error:
            logger.warning("the database does not answer: %s", error)
            return {"database": "it does not answer"}
        words = {part: _quiet(ages.get(part), what) for part, what in SEEN.items() if _is_old(ages.get(part))}
        if faulty:
            words["accelerators"] = f"a GPU has failed on {faulty}; the workers there take no jobs until started again"
        return words

    def _storage(self) -> Mapping[str, str]:
        try:
            self._files.ensure_bucket()
        except errors.StorageUnavailable as error:
            logger.warning("%s", error)
            return {"object storage": "it does not answer"}
        return {}

    def _ask_broker(self) -> Mapping[str, str]:
        try:
            self._broker.ping()
        except (RedisError, OSError) as error:
            logger.warning("the broker does not answer: %s", error)
            return {"broker": "it does not answer; jobs are accepted, and begin later"}
        return {}


def _started(check: Check) -> Future[Mapping[str, str]]:
    """In a thread that ends with the process: one that hangs must not hold up its end."""
    future: Future[Mapping[str, str]] = Future()

    def run() -> None:
        try:
            future.set_result(check())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, name="readiness", daemon=True).start()
    return future


def _is_old(age: float | None) -> bool:
    return age is None or age > SILENT_SECONDS


def _quiet(age: float | None, consequence: str) -> str:
    since = "it was never at work" if age is None else f"it was last at work {age:.0f} s ago"
    return f"{since}; {consequence}"
