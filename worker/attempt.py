"""One attempt at a job: its folder, its engine process, its upload."""

import errno
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from jobs.errors import PruneryError
from jobs.files import Files
from jobs.settings import Settings
from jobs.tables import Json
from worker import endings, workdir
from worker.endings import Failure
from worker.journal import Journal
from worker.lease import Lease
from worker.leases import Claim, NewArtifact
from worker.process import EngineProcess
from worker.publish import Publication

# The engine has no business with these.
WITHHELD = frozenset({"PRUNERY_DATABASE_URL", "PRUNERY_BROKER_URL", "PRUNERY_API_KEY", "PRUNERY_ENCRYPTION_KEYS"})
TICK_SECONDS = 0.2

_log = logging.getLogger(__name__)


class Interruption(Enum):
    """Why an attempt was left before its end."""

    LOST = "lost"  # another worker may have the job: nothing may be written
    CANCELLED = "cancelled"  # the client does not want it any more
    STOPPED = "worker_stopped"  # this worker is to end: another one shall have the job


@dataclass(frozen=True)
class Published:
    """The job is done and its files are in object storage."""

    result: Json
    artifacts: Sequence[NewArtifact]


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
        claim: Claim,
        lease: Lease,
        journal: Journal,
        files: Files,
        stopping: Callable[[], bool],
    ) -> None:
        self._settings = settings
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
        except Exception as error:
            _log.exception("%s: the worker failed", self._claim.job_id)
            ending = Failure.of(_named(error), self._journal.phase)
        self._journal.close()
        return ending

    def _work(self, command: Sequence[str], folder: Path) -> Ending:
        spec, out, scratch = folder / "spec.json", folder / "out", folder / "tmp"
        spec.write_text(json.dumps(self._claim.spec))
        out.mkdir()
        scratch.mkdir()
        exit_code = self._supervise(
            [*command, "--spec", str(spec), "--out", str(out)], {**_withhold(os.environ), "TMPDIR": str(scratch)}
        )
        left = endings.read(out, exit_code, phase=self._journal.phase, excerpt=self._journal.excerpt)
        if isinstance(left, Failure):
            return left
        self._journal.enter("uploading")
        return Published(left.summary, self._publish(left.model))

    def _supervise(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run the engine to its end or to an interruption; its exit code."""
        with EngineProcess(command, environment) as engine:
            try:
                while not engine.exited():
                    self._journal.take(engine.listen(TICK_SECONDS))
                    self._check()
            except _Interrupted as interrupted:
                lost = interrupted.interruption is Interruption.LOST
                self._journal.take(engine.stop(0 if lost else self._settings.cancel_grace_seconds))
                raise
            exit_code = engine.kill()  # ends what the engine started and left behind
            self._journal.take(engine.drain())
        return exit_code

    def _publish(self, model: Path) -> list[NewArtifact]:
        publication = Publication(self._files, model, self._claim, self._settings.storage_patience_seconds)
        publication.start()
        try:
            while publication.is_alive():
                publication.join(TICK_SECONDS)
                self._check()
        finally:
            publication.abandon()
        return publication.artifacts()

    def _check(self) -> None:
        if self._lease.lost:
            raise _Interrupted(Interruption.LOST)
        if self._lease.cancel:
            raise _Interrupted(Interruption.CANCELLED)
        if self._stopping():
            raise _Interrupted(Interruption.STOPPED)


def _named(error: Exception) -> PruneryError:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return endings.disk_full()
    return PruneryError(f"The worker could not run the job: {type(error).__name__}.", hint="Its log says more.")


def _withhold(environment: Mapping[str, str]) -> dict[str, str]:
    # Settings are read whatever the case of their names.
    return {name: value for name, value in environment.items() if name.upper() not in WITHHELD}
