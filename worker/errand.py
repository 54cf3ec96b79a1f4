"""Work with object storage, in a thread of its own: a storage that does not answer must not hold up a cancel."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from jobs import logs
from jobs.errors import StorageUnavailable

LONGEST_PAUSE_SECONDS = 15.0

_log = logging.getLogger(__name__)

Check = Callable[[], None]
"""To be called between pieces of work; what it raises ends the work and passes through."""

T = TypeVar("T")


class Errand(threading.Thread, Generic[T]):
    """A piece of work that can be abandoned."""

    def __init__(self, name: str, work: Callable[[Check], T]) -> None:
        super().__init__(name=name, daemon=True)
        self._work = logs.carried(work)
        self._abandoned = threading.Event()
        self._result: T
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._result = self._work(self._check)
        except Exception as error:
            self._error = error

    def abandon(self) -> None:
        """Have it end soon; nobody waits for it."""
        self._abandoned.set()

    def result(self) -> T:
        """What the work came to, once the thread has ended. Raises what ended it."""
        if self._error is not None:
            raise self._error
        return self._result

    def _check(self) -> None:
        if self._abandoned.is_set():
            raise _Abandoned


class _Abandoned(Exception):
    pass


class Patience:
    """Asks a storage again after growing pauses. The time allowed begins anew after each answer."""

    def __init__(self, seconds: float, check: Check) -> None:
        self._seconds = seconds
        self._check = check

    def insist(self, request: Callable[[], T]) -> T:
        """What the request answers. Raises StorageUnavailable if there was no answer for so long."""
        give_up = time.monotonic() + self._seconds
        pause = 0.5
        while True:
            self._check()
            try:
                return request()
            except StorageUnavailable as error:
                if time.monotonic() + pause > give_up:
                    raise
                _log.warning("Object storage is asked again in %.1f s: %s", pause, error)
            rest(pause, self._check)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def rest(seconds: float, check: Check) -> None:
    """Do nothing for so long."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check()
        time.sleep(min(left, 0.2))
