"""One job from its claim to its end: where engine, database and object storage meet."""

import logging
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
from worker.workers import Worker

# -P: a folder of the working directory must not stand in for one of the packages.
ENGINE = (sys.executable, "-P", "-m", "worker.child")

_log = logging.getLogger(__name__)


class Runner:
    """Runs jobs, one at a time, from one thread that outlives them all (see `worker.process`)."""

    def __init__(
        self,
        settings: Settings,
        worker: Worker,
        *,
        command: Sequence[str] = ENGINE,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            worker: Who runs them.
            command: Starts an engine; `--spec FILE --out FOLDER --events-fd N` is appended.
            stopping: Whether this worker is to end.
        """
        self.worker = worker
        self.job_id: str | None = None  # what it works on
        self._settings = settings
        self._command = tuple(command)
        self._stopping = stopping

    def run_next(self, sessions: sessionmaker[Session]) -> bool:
        """Take the job whose turn it is and bring it to an end; False if none waits that this worker may have."""
        claimed_at = time.monotonic()
        with sessions.begin() as session:
            claim = leases.claim_next(session, self.worker, self._settings.lease_seconds)
        if claim is None:
            return False
        self.job_id = claim.job_id
        try:
            self._run(sessions, claim, claimed_at)
        finally:
            self.job_id = None
        return True

    def _run(self, sessions: sessionmaker[Session], claim: Claim, claimed_at: float) -> None:
        _log.info("%s: attempt %d begins", claim.job_id, claim.attempt)
        with Lease(sessions, claim, self._settings, claimed_at=claimed_at) as lease:
            journal = Journal(sessions, claim, lease)
            attempt = Attempt(self._settings, claim, lease, journal, Files(self._settings), self._stopping)
            ending = attempt.run(self._command)
            outcome = _describe(ending) if _settle(sessions, claim, lease, ending) else "lost, nothing written"
        _log.info("%s: attempt %d ended: %s", claim.job_id, claim.attempt, outcome)


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
