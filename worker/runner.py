"""One job from its claim to its end: where engine, database and object storage meet."""

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session, sessionmaker

from jobs import database
from jobs.files import Files
from jobs.settings import Settings
from worker import leases
from worker.attempt import Attempt, Ending, Interruption, Published
from worker.endings import Failure
from worker.journal import Journal
from worker.lease import Lease
from worker.leases import Claim

# -P: a folder of the working directory must not stand in for one of the packages.
ENGINE = (sys.executable, "-P", "-m", "worker.child")

_log = logging.getLogger(__name__)


class Runner:
    """Runs jobs, one at a time, from the main thread (see `worker.process`). A doorbell too many costs it little."""

    def __init__(
        self, settings: Settings, *, command: Sequence[str] = ENGINE, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """
        Args:
            command: Starts an engine; `--spec FILE --out FOLDER --events-fd N` is appended.
            stopping: Whether this worker is to end.
        """
        self._settings = settings
        self._command = tuple(command)
        self._stopping = stopping

    def run(self, job_id: str) -> None:
        """Claim the job and bring it to an end; nothing happens if it does not wait for a worker any more."""
        engine = database.engine(self._settings)
        try:
            self._run(database.sessions(engine), job_id)
        finally:
            engine.dispose()

    def _run(self, sessions: sessionmaker[Session], job_id: str) -> None:
        claimed_at = time.monotonic()
        with sessions.begin() as session:
            owner = f"{socket.gethostname()}:{os.getpid()}"
            claim = leases.claim(session, job_id, owner, self._settings.lease_seconds)
        if claim is None:
            _log.info("%s does not wait for a worker", job_id)
            return
        _log.info("%s: attempt %d begins", job_id, claim.attempt)
        with Lease(sessions, claim, self._settings, claimed_at=claimed_at) as lease:
            journal = Journal(sessions, claim, lease)
            attempt = Attempt(self._settings, claim, lease, journal, Files(self._settings), self._stopping)
            ending = attempt.run(self._command)
            outcome = _describe(ending) if _settle(sessions, claim, lease, ending) else "lost, nothing written"
        _log.info("%s: attempt %d ended: %s", job_id, claim.attempt, outcome)


def _settle(sessions: sessionmaker[Session], claim: Claim, lease: Lease, ending: Ending) -> bool:
    """Write the ending in one transaction; the database may be away for as long as the lease lasts.

    Returns:
        False if the job was lost.
    """
    while ending is not Interruption.LOST and not lease.lost:
        try:
            with sessions.begin() as session:
                return _write(session, claim, ending)
        except database.OUTAGES as error:
            _log.warning("%s: its end waits, the database does not answer: %s", claim.job_id, error)
            time.sleep(1.0)
    return False


def _write(session: Session, claim: Claim, ending: Ending) -> bool:
    match ending:
        case Published(result, artifacts):
            return leases.succeed(session, claim, result, artifacts)
        case Failure(error):
            return leases.fail(session, claim, error, error["code"])
        case Interruption.CANCELLED:
            return leases.cancelled(session, claim)
        case Interruption.STOPPED:
            return leases.release(session, claim, ending.value)
        case Interruption.LOST:
            return False


def _describe(ending: Ending) -> str:
    match ending:
        case Published():
            return "succeeded"
        case Failure(error):
            return f"failed: {error['code']}"
        case Interruption():
            return ending.value
