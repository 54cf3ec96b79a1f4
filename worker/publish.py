"""The way of a model into object storage: every file under the hash of its content, the manifest last.

Nothing becomes visible by this: a client sees the files once the job's row says so.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

from jobs.errors import PruneryError, StorageUnavailable
from jobs.files import Files, blob_key
from worker.leases import Claim, NewArtifact

CHUNK_BYTES = 2**20
LONGEST_PAUSE_SECONDS = 15.0

_log = logging.getLogger(__name__)

Check = Callable[[], None]
T = TypeVar("T")


def publish(files: Files, model: Path, claim: Claim, *, check: Check, patience_seconds: float) -> list[NewArtifact]:
    """Upload every file of `model`; what is there already is not sent again.

    Args:
        check: Called between pieces; what it raises ends the upload and passes through.
        patience_seconds: For how long a storage that does not answer is asked again.
    Raises:
        StorageUnavailable: it did not answer for so long.
    """
    patience = _Patience(patience_seconds, check)
    artifacts = []
    for path in _files_of(model):
        artifact = NewArtifact(path.relative_to(model).as_posix(), path.stat().st_size, _sha256(path, check))
        patience.insist(partial(_upload, files, path, artifact, check))
        artifacts.append(artifact)
    manifest = {
        "job_id": claim.job_id,
        "attempt": claim.attempt,
        "files": [asdict(artifact) for artifact in artifacts],
    }
    key = f"jobs/{claim.job_id}/attempts/{claim.attempt}/manifest.json"
    patience.insist(partial(files.put_bytes, key, json.dumps(manifest, indent=1).encode()))
    return artifacts


class Publication(threading.Thread):
    """`publish` in a thread of its own, as a storage that does not answer must not hold up a cancel."""

    def __init__(self, files: Files, model: Path, claim: Claim, patience_seconds: float) -> None:
        super().__init__(name=f"publication of {claim.job_id}", daemon=True)
        self._publish = partial(publish, files, model, claim, check=self._check, patience_seconds=patience_seconds)
        self._abandoned = threading.Event()
        self._artifacts: list[NewArtifact] = []
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._artifacts = self._publish()
        except Exception as error:
            self._error = error

    def abandon(self) -> None:
        """Have it end soon; nobody waits for it."""
        self._abandoned.set()

    def artifacts(self) -> list[NewArtifact]:
        """What was published, once the thread has ended. Raises what ended it."""
        if self._error is not None:
            raise self._error
        return self._artifacts

    def _check(self) -> None:
        if self._abandoned.is_set():
            raise _Abandoned


class _Abandoned(Exception):
    pass


class _Patience:
    """Asks again after growing pauses. The time allowed begins anew after each answer."""

    def __init__(self, seconds: float, check: Check) -> None:
        self._seconds = seconds
        self._check = check

    def insist(self, request: Callable[[], T]) -> T:
        give_up = time.monotonic() + self._seconds
        pause = 0.5
        while True:
            self._check()
            try:
                return request()
            except StorageUnavailable as error:
                if time.monotonic() + pause > give_up:
                    raise
                _log.warning("The upload waits %.1f s: %s", pause, error)
            self._rest(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, 0.2))


def _files_of(model: Path) -> list[Path]:
    paths = sorted(path for path in model.rglob("*") if path.is_symlink() or not path.is_dir())
    strange = [path for path in paths if path.is_symlink() or not path.is_file()]
    if strange or not paths:
        raise PruneryError(
            f"The engine left something that is no file to publish: {strange[0].name}."
            if strange
            else "The engine left no file to publish."
        )
    return paths


def _upload(files: Files, path: Path, artifact: NewArtifact, check: Check) -> None:
    key = blob_key(artifact.sha256)
    if files.size(key) != artifact.bytes:
        files.put_file(path, key, on_bytes=lambda _: check())


def _sha256(path: Path, check: Check) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            check()
            digest.update(chunk)
    return digest.hexdigest()
