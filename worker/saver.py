"""The checkpoints of a running engine on their way out: a thread that watches their folder and uploads the newest."""

import logging
import threading
import time
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from jobs import database
from jobs.errors import PruneryError
from jobs.files import Files
from worker import depot, saved
from worker.engine import checkpoints
from worker.errand import LONGEST_PAUSE_SECONDS
from worker.lease import Lease
from worker.leases import Claim

LOOK_SECONDS = 0.5

_log = logging.getLogger(__name__)


class Saver:
    """Never holds up the engine: while storage or database are away, checkpoints wait, and newer ones overtake them."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        files: Files,
        claim: Claim,
        lease: Lease,
        folder: Path,
        *,
        resumed_from: int | None,
    ) -> None:
        """
        Args:
            folder: the engine's checkpoints. What it holds already is in object storage.
            resumed_from: the number of the checkpoint that is there.
        """
        self._sessions = sessions
        self._files = files
        self._claim = claim
        self._lease = lease
        self._folder = folder
        self._resumed_from = resumed_from
        self._done = _newest(folder)
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._save_until_closed, name=f"saver of {claim.job_id}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The engine has ended: have what it left uploaded, and end then."""
        self._closing.set()

    def wait(self, seconds: float) -> bool:
        """Whether all that there was is saved after so long, or there is nobody to do it."""
        self._thread.join(timeout=seconds)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Have it end soon; nobody waits for it."""
        self._closing.set()
        self._abandoned.set()

    def _save_until_closed(self) -> None:
        pause = LOOK_SECONDS
        while not self._lease.lost:
            closing = self._closing.wait(pause if not self._closing.is_set() else 0)
            try:
                saved_one = self._save_newest()
            except _Abandoned:
                return
            except (*database.OUTAGES, PruneryError) as error:
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                _log.warning("%s: a checkpoint waits %.1f s: %s", self._claim.job_id, pause, error)
                if self._abandoned.wait(pause):
                    return
                continue
            except Exception:
                # Hours of work must not end because they could not be kept.
                _log.exception("%s: no checkpoints are saved from here on", self._claim.job_id)
                return
            pause = LOOK_SECONDS
            if closing and not saved_one:
                return

    def _save_newest(self) -> bool:
        """Save the newest checkpoint, if there is one that is not."""
        folder = _newest(self._folder)
        if folder is None or folder == self._done:
            return False
        began = time.monotonic()
        try:
            stored = depot.put(self._files, folder, self._claim, self._check)
        except FileNotFoundError:  # the engine has written newer ones meanwhile and dropped this one
            return True
        with self._sessions.begin() as session:
            recorded = saved.record(session, self._claim, stored, resumed_from=self._resumed_from)
        if recorded is None:
            self._lease.fence()
            return False
        self._done = folder
        row = recorded.row
        _log.info("%s: checkpoint %d (step %d, %d bytes) is saved after %.1f s", row.job_id, row.number, row.step,
                  row.bytes, time.monotonic() - began)  # fmt: skip
        depot.remove(self._files, recorded.dropped, recorded.kept)
        return True

    def _check(self) -> None:
        if self._abandoned.is_set() or self._lease.lost:
            raise _Abandoned


class _Abandoned(Exception):
    pass


def _newest(folder: Path) -> Path | None:
    found = checkpoints.stored(folder)
    return found[-1] if found else None
