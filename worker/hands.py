"""The loop of a worker: takes the next job that fits as soon as there is one, and works on it.

The doorbell only wakes it early. A worker whose broker is away, or that was never rung for, looks by itself.
"""

import logging
import threading
import time
from collections.abc import Sequence

from sqlalchemy.orm import Session, sessionmaker

from jobs import database
from jobs.settings import Settings
from worker import pulse, workers
from worker.runner import ENGINE, Runner
from worker.workers import Worker

# How often the memory of the GPUs is asked for.
MEASURE_SECONDS = 15.0

_log = logging.getLogger(__name__)


class Hands(threading.Thread):
    """A thread for life: engines are tied to it, and end with it (see `worker.process`)."""

    def __init__(self, settings: Settings, command: Sequence[str] = ENGINE) -> None:
        """`command` starts an engine, see `Runner`."""
        super().__init__(name="hands", daemon=True)
        self._settings = settings
        self._command = command
        self._rung = threading.Event()
        self._stopping = threading.Event()
        self._left = threading.Event()

    def ring(self) -> None:
        """Look for a job now, or once the present one has ended."""
        self._rung.set()

    def stop(self) -> None:
        """Take no further job, and give the present one back."""
        self._stopping.set()
        self._rung.set()

    def run(self) -> None:
        sessions = database.sessions(database.engine(self._settings))
        worker = Worker.here(self._settings)
        runner = Runner(self._settings, worker, command=self._command, stopping=self._stopping.is_set)
        _log.info("Worker %s takes jobs of up to %.1f GB", worker.id, worker.memory_bytes / 1e9)
        presence = threading.Thread(target=self._show, args=(sessions, runner), name="presence", daemon=True)
        presence.start()
        while not self._stopping.is_set():
            self._rung.clear()
            if not _look(runner, sessions):
                self._rung.wait(self._settings.pull_seconds)
        self._left.set()
        presence.join()

    def _show(self, sessions: sessionmaker[Session], runner: Runner) -> None:
        """Say again and again that the worker is there and what it does, and at last that it is gone."""
        gone, used, measure_at = False, list[int](), time.monotonic()
        while not gone:
            gone = self._left.wait(self._settings.heartbeat_seconds)
            pulse.beat(self._settings.pulse_file)
            if time.monotonic() >= measure_at:
                used, measure_at = workers.gpu_used_bytes(), time.monotonic() + MEASURE_SECONDS
            try:
                with sessions.begin() as session:
                    if gone:
                        workers.left(session, runner.worker)
                    else:
                        workers.seen(session, runner.worker, runner.job_id, used, runner.fault)
            except database.OUTAGES as error:
                _log.debug("Not shown: the database does not answer: %s", error)


def _look(runner: Runner, sessions: sessionmaker[Session]) -> bool:
    """Whether there was a job; whatever goes wrong with one must not end the worker."""
    try:
        return runner.run_next(sessions)
    except database.OUTAGES as error:
        _log.warning("No look for jobs: the database does not answer: %s", error)
    except Exception:
        _log.exception("A job could not be worked on")
    return False
