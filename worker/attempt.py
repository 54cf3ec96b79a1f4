"""One attempt at a job: its folder, its engine process, its upload."""

import errno
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy.orm import Session, sessionmaker

from jobs import database, held_models
from jobs.errors import PruneryError, StorageUnavailable
from jobs.files import Files
from jobs.revisions import MAIN
from jobs.settings import Settings
from jobs.specs import JobSpec
from jobs.tables import Json
from worker import endings, holds, host_memory, publish, restore, saved, workdir
from worker.endings import Failure
from worker.engine import orders
from worker.engine.orders import Order
from worker.errand import Check, Errand
from worker.journal import Journal
from worker.lease import Lease
from worker.leases import Claim
from worker.process import EngineProcess
from worker.revisions import NewRevision
from worker.saver import Saver

# The engine has no business with these.
WITHHELD = frozenset(
    f"PRUNERY_{name}" for name in ("DATABASE_URL", "BROKER_URL", "API_KEY", "ENCRYPTION_KEYS", "METRICS_TOKEN")
)
TICK_SECONDS = 0.2

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Interruption(Enum):
    """Why an attempt was left before its end."""

    LOST = "lost"  # another worker may have the job: nothing may be written
    CANCELLED = "cancelled"  # the client does not want it any more
    PAUSED = "paused"  # the client wants it later
    STOPPED = "worker_stopped"  # this worker is to end: another one shall have the job


@dataclass(frozen=True)
class Published:
    """The job is done and its files are in object storage."""

    result: Json
    revisions: Sequence[NewRevision]


Ending = Published | Failure | Interruption


class _Interrupted(Exception):
    def __init__(self, interruption: Interruption) -> None:
        super().__init__(interruption.value)
        self.interruption = interruption


class Attempt:
    """To be run once, from the main thread (see `worker.process`)."""

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        claim: Claim,
        lease: Lease,
        journal: Journal,
        files: Files,
        stopping: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._claim = claim
        self._lease = lease
        self._journal = journal
        self._files = files
        self._stopping = stopping

    def run(self, command: Sequence[str]) -> Ending:
        """Whatever happens in it is an ending; the folder is gone and the journal complete afterwards."""
        ending: Ending
        try:
            with workdir.opened(self._settings.work_dir, self._claim) as folder:
                ending = self._work(command, folder)
        except _Interrupted as interrupted:
            ending = interrupted.interruption
        except PruneryError as error:
            ending = Failure.of(error, self._journal.phase)
        except database.OUTAGES as error:
            _log.warning("%s: the attempt ends, the database does not answer: %s", self._claim.job_id, error)
            ending = Failure.of(_away(), self._journal.phase)
        except Exception as error:
            _log.exception("%s: the worker failed", self._claim.job_id)
            ending = Failure.of(_named(error), self._journal.phase)
        self._journal.close()
        return ending

    def _work(self, command: Sequence[str], folder: Path) -> Ending:
        out = folder / "out"
        if workdir.take(self._settings.work_dir, self._claim, out):
            try:
                with self._sessions.begin() as session:
                    saved.finished(session, self._claim)
            except database.OUTAGES:
                workdir.keep(self._settings.work_dir, self._claim, out)
                raise
            left = self._read(out, 0, memory_kills=0)
        else:
            out.mkdir()
            left = self._run_engine(command, folder, out)
        if isinstance(left, Failure):
            return left
        self._journal.enter("uploading")
        return Published(left.summary, self._publish({MAIN: left.model, **left.variants}, out))

    def _run_engine(self, command: Sequence[str], folder: Path, out: Path) -> endings.Result | Failure:
        spec, kept, scratch = (folder / name for name in ("spec.json", "checkpoints", "tmp"))
        spec.write_text(json.dumps(self._claim.spec))
        command = [*command, *self._base(folder)]
        kept.mkdir()
        scratch.mkdir()
        patience = self._settings.storage_patience_seconds
        bring = partial(restore.restore, self._sessions, self._files, self._claim, kept, patience)
        resumed_from = self._run_errand("restoring", bring)
        if self._lease.finish:  # heard before the first step
            orders.give(out, Order.FINISH)
        saver = Saver(self._sessions, self._files, self._claim, self._lease, kept, resumed_from=resumed_from)
        killed_before = host_memory.kills()
        try:
            exit_code = self._supervise(
                [*command, "--spec", str(spec), "--out", str(out), "--checkpoints", str(kept)],
                {**_withhold(os.environ), "TMPDIR": str(scratch)},
                out,
                saver,
            )
            left = self._read(out, exit_code, memory_kills=_more(killed_before, host_memory.kills()))
            if isinstance(left, Failure):
                self._let_leave(saver, self._settings.checkpoint_grace_seconds)
        finally:
            saver.abandon()
        return left

    def _base(self, folder: Path) -> list[str]:
        """The options that tell the engine where its base model lies, if that is in our object storage."""
        source = JobSpec.model_validate(self._claim.spec).base_model
        with self._sessions.begin() as session:
            held = held_models.files(session, source)
            held_models.note_use(session, source)
        if held:
            file = folder / "held.json"
            file.write_text(json.dumps(held_models.as_json(held)))
            return ["--held", str(file)]
        return []

    def _read(self, out: Path, exit_code: int, *, memory_kills: int | None) -> endings.Result | Failure:
        journal = self._journal
        return endings.read(out, exit_code, phase=journal.phase, excerpt=journal.excerpt, memory_kills=memory_kills)

    def _supervise(self, command: Sequence[str], environment: Mapping[str, str], out: Path, saver: Saver) -> int:
        """Run the engine to its end or to an interruption; its exit code."""
        with EngineProcess(command, environment) as engine:
            try:
                while not engine.exited():
                    if self._lease.finish:
                        orders.give(out, Order.FINISH)
                    self._journal.take(engine.listen(TICK_SECONDS))
                    self._check(Interruption.PAUSED)
            except _Interrupted as interrupted:
                exit_code = self._wind_down(engine, out, saver, interrupted.interruption)
                # What has a result already needs no pause.
                if exit_code or interrupted.interruption is not Interruption.PAUSED:
                    raise
            exit_code = engine.kill()  # ends what the engine started and left behind
            self._journal.take(engine.drain())
        return exit_code

    def _wind_down(self, engine: EngineProcess, out: Path, saver: Saver, why: Interruption) -> int:
        """Ask for a checkpoint, then to end, then end it; and let the checkpoint leave. Nobody waits for a cancel."""
        grace = self._settings.cancel_grace_seconds
        patience = grace if why is Interruption.CANCELLED else self._settings.checkpoint_grace_seconds
        if why is not Interruption.LOST:
            orders.give(out, Order.STOP)
            self._journal.take(engine.wait(patience))
            self._journal.take(engine.stop(grace))
            self._let_leave(saver, patience)
        return engine.kill()

    def _let_leave(self, saver: Saver, seconds: float) -> None:
        """Give the engine's last checkpoint so long to reach object storage."""
        saver.close()
        give_up = time.monotonic() + seconds
        while not (saver.wait(TICK_SECONDS) or self._lease.lost):
            if time.monotonic() > give_up:
                _log.warning("%s: the last checkpoint could not be saved in time", self._claim.job_id)
                return

    def _publish(self, folders: Mapping[str, Path], out: Path) -> list[NewRevision]:
        patience = self._settings.storage_patience_seconds
        work = partial(publish.publish, self._files, folders, self._claim, hold=self._hold, patience_seconds=patience)
        try:
            return self._run_errand("publication", lambda check: work(check=check))
        except (StorageUnavailable, _Interrupted) as error:
            if not isinstance(error, _Interrupted) or error.interruption is Interruption.STOPPED:
                workdir.keep(self._settings.work_dir, self._claim, out)
            raise

    def _hold(self, sha256s: Sequence[str]) -> None:
        try:
            with self._sessions.begin() as session:
                holds.hold(session, self._claim.job_id, sha256s)
        except database.OUTAGES as error:
            raise _away() from error

    def _run_errand(self, name: str, work: Callable[[Check], T]) -> T:
        errand = Errand(f"{name} of {self._claim.job_id}", work)
        errand.start()
        try:
            while errand.is_alive():
                errand.join(TICK_SECONDS)
                self._check()
        finally:
            errand.abandon()
        return errand.result()

    def _check(self, *further: Interruption) -> None:
        if self._lease.lost:
            raise _Interrupted(Interruption.LOST)
        if self._lease.cancel:
            raise _Interrupted(Interruption.CANCELLED)
        if self._lease.pause and Interruption.PAUSED in further:
            raise _Interrupted(Interruption.PAUSED)
        if self._stopping():
            raise _Interrupted(Interruption.STOPPED)


def _more(before: int | None, now: int | None) -> int | None:
    return None if before is None or now is None else now - before


def _away() -> StorageUnavailable:
    return StorageUnavailable("The database does not answer.")


def _named(error: Exception) -> PruneryError:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return endings.disk_full()
    return PruneryError(f"The worker could not run the job: {type(error).__name__}.", hint="Its log says more.")


def _withhold(environment: Mapping[str, str]) -> dict[str, str]:
    # Settings are read whatever the case of their names.
    return {name: value for name, value in environment.items() if name.upper() not in WITHHELD}
