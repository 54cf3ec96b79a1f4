"""The heartbeat of a job: a thread that renews the lease and brings back the orders."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session, sessionmaker

from jobs import database, logs
from jobs.settings import Settings
from worker import leases
from worker.leases import Claim, Orders

_log = logging.getLogger(__name__)


class Lease:
    """Beats until left. Whoever works under it looks at `lost` and at the orders often.

    `lost` does not wait for the database: if that cannot be reached, or does not answer, for as long as the lease
    lasts, the job counts as lost by this machine's own steady clock.
    """

    def __init__(self, sessions: sessionmaker[Session], claim: Claim, settings: Settings, *, claimed_at: float) -> None:
        """`claimed_at`: `time.monotonic()` from before the claim."""
        self._sessions = sessions
        self._claim = claim
        self._lease_seconds = settings.lease_seconds
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._held_until = claimed_at + settings.lease_seconds
        self._fenced = threading.Event()
        self._orders = Orders(cancel=False, finish=claim.finish)
        self._left = threading.Event()
        self._thread = threading.Thread(
            target=logs.carried(self._beat_until_left), name=f"lease of {claim.job_id}", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        # A thread that hangs in a dead connection must not hold up the worker; it ends with the process.
        self._thread.join(timeout=1.0)

    @property
    def lost(self) -> bool:
        """Whether another worker may have the job by now."""
        return self._fenced.is_set() or time.monotonic() > self._held_until

    @property
    def cancel(self) -> bool:
        """Whether the client wants the job to stop."""
        return self._orders.cancel

    @property
    def pause(self) -> bool:
        """Whether the client wants the job to rest."""
        return self._orders.pause

    @property
    def finish(self) -> bool:
        """Whether the client wants the training to end, and what there is published."""
        return self._orders.finish

    def fence(self) -> None:
        """Say that a write was refused."""
        self._fenced.set()

    def _beat_until_left(self) -> None:
        reachable = True
        while not self._left.wait(self._heartbeat_seconds if reachable else self._heartbeat_seconds / 2):
            try:
                self._beat()
            except database.OUTAGES as error:
                if reachable:
                    _log.warning("%s: no heartbeat, the database does not answer: %s", self._claim.job_id, error)
                reachable = False
            else:
                reachable = True
            if self.lost:
                return

    def _beat(self) -> None:
        began = time.monotonic()
        with self._sessions.begin() as session:
            orders = leases.beat(session, self._claim, self._lease_seconds)
        if orders is None:
            self._fenced.set()
            return
        self._held_until = began + self._lease_seconds
        self._orders = orders
