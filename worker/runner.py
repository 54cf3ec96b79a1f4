"""One job from its claim to its end: where engine, database and object storage meet."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.trace import SpanKind
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from jobs import database, logs, tracing
from jobs.errors import GpuFault
from jobs.files import Files
from jobs.settings import Settings
from jobs.states import FINAL
from jobs.tables import AttemptRow, JobRow, Json
from worker import leases, retries, saved
from worker.attempt import Attempt, Ending, Interruption, Published
from worker.endings import Failure
from worker.journal import Journal
from worker.lease import Lease
from worker.leases import Claim
from worker.retries import GiveUp, Retry, Standing
from worker.workers import Worker

# -P: a folder of the working directory must not stand in for one of the packages.
ENGINE = (sys.executable, "-P", "-m", "worker.child", "--keep-base")

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
        self.fault: str | None = None  # of the accelerator: another worker is to have the next job
        self._settings = settings
        self._command = tuple(command)
        self._stopping = stopping

    def run_next(self, sessions: sessionmaker[Session]) -> bool:
        """Take the job whose turn it is and bring it to an end; False if none waits that this worker may have."""
        if self.fault is not None:
            return False
        claimed_at = time.monotonic()
        with sessions.begin() as session:
            claim = leases.claim_next(session, self.worker, self._settings.lease_seconds)
        if claim is None:
            return False
        self.job_id = claim.job_id
        try:
            with observed(claim):
                self._run(sessions, claim, claimed_at)
        finally:
            self.job_id = None
        return True

    def _run(self, sessions: sessionmaker[Session], claim: Claim, claimed_at: float) -> None:
        _log.info("%s: attempt %d begins", claim.job_id, claim.attempt)
        with Lease(sessions, claim, self._settings, claimed_at=claimed_at) as lease:
            journal = Journal(sessions, claim, lease)
            attempt = Attempt(self._settings, sessions, claim, lease, journal, Files(self._settings), self._stopping)
            ending = attempt.run(self._command)
            if isinstance(ending, Failure) and ending.error["code"] == GpuFault.code:
                self.fault = str(ending.error["message"])
                _log.error("This worker takes no further job until it is started again: %s", self.fault)
            settled = _settle(sessions, claim, lease, ending, self._settings)
        outcome = _describe(ending) if settled else "lost, nothing written"
        _log.info("%s: attempt %d ended: %s", claim.job_id, claim.attempt, outcome)


@contextmanager
def observed(claim: Claim) -> Iterator[None]:
    """Whatever is logged and traced within tells of this attempt."""
    about: dict[str, str | int] = {tracing.JOB: claim.job_id, tracing.ATTEMPT: claim.attempt}
    parent, kind = claim.traceparent, SpanKind.CONSUMER
    with (
        logs.about(job_id=claim.job_id, attempt=claim.attempt),
        tracing.span("attempt", about, parent=parent, kind=kind),
    ):
        yield
    tracing.flush()


def _settle(sessions: sessionmaker[Session], claim: Claim, lease: Lease, ending: Ending, settings: Settings) -> bool:
    """Write the ending in one transaction; the database may be away for as long as the lease lasts.

    Returns:
        False if the job was lost.
    """
    while ending is not Interruption.LOST and not lease.lost:
        try:
            with sessions.begin() as session:
                return _write(session, claim, ending, settings)
        except database.OUTAGES as error:
            _log.warning("%s: its end waits, the database does not answer: %s", claim.job_id, error)
            time.sleep(1.0)
    return False


def _write(session: Session, claim: Claim, ending: Ending, settings: Settings) -> bool:
    match ending:
        case Published(result, revisions):
            return leases.succeed(session, claim, result, revisions)
        case Failure(error):
            return _write_failure(session, claim, error, settings)
        case Interruption.CANCELLED:
            return leases.cancelled(session, claim)
        case Interruption.PAUSED:
            return leases.paused(session, claim) or leases.cancelled(session, claim)
        case Interruption.STOPPED:
            return leases.release(session, claim, ending.value)
        case Interruption.LOST:
            return False


def _write_failure(session: Session, claim: Claim, error: Json, settings: Settings) -> bool:
    """Let the job be tried again if there is hope, else end it."""
    row = session.get(JobRow, claim.job_id, with_for_update=True, populate_existing=True)
    if row is None or row.lease_token != claim.token:
        return False
    standing = Standing(
        history=_errors_before(session, claim),
        attempts_left=row.max_attempts - row.attempt,
        free_attempts=row.free_attempts,
        overrides=row.overrides,
    )
    verdict = retries.decide(
        error,
        standing,
        backoff_seconds=settings.retry_seconds,
        longest_seconds=settings.longest_retry_seconds,
        most_free=settings.max_free_attempts,
    )
    session.execute(
        update(AttemptRow)
        .where(AttemptRow.job_id == claim.job_id, AttemptRow.number == claim.attempt)
        .values(error=error, phase=error["phase"])
    )
    match verdict:
        case Retry():
            if verdict.is_last_checkpoint_suspect:
                saved.give_up_last(session, claim)
            return leases.requeue(session, claim, error, verdict)
        case GiveUp(last_word):
            return leases.fail(session, claim, last_word, last_word["code"])


def _errors_before(session: Session, claim: Claim) -> list[Json]:
    """Those of the attempts since the job was begun, or begun again by its owner."""
    of_job = AttemptRow.job_id == claim.job_id
    begun = select(func.max(AttemptRow.number)).where(of_job, AttemptRow.outcome.in_(FINAL)).scalar_subquery()
    query = select(AttemptRow.error).where(
        of_job,
        AttemptRow.number > func.coalesce(begun, 0),
        AttemptRow.number < claim.attempt,
        AttemptRow.error.is_not(None),
    )
    return [error for error in session.scalars(query.order_by(AttemptRow.number)) if error is not None]


def _describe(ending: Ending) -> str:
    match ending:
        case Published():
            return "succeeded"
        case Failure(error):
            return f"error: {error['code']}"
        case Interruption():
            return ending.value
