"""The folder of one attempt, which nobody finds any more afterwards."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.leases import Claim

LOCK = ".lock"


@contextmanager
def opened(root: Path, claim: Claim) -> Iterator[Path]:
    """A new folder under `root`, removed when left. What killed workers left behind goes first.

    A folder belongs to whoever holds the lock of the file in it; the kernel drops that lock with the process.
    """
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"{claim.job_id}.{claim.attempt}"
    with (root / LOCK).open("w") as gate:
        # Between the making of a folder and its locking, another worker would take it for abandoned.
        fcntl.flock(gate, fcntl.LOCK_EX)
        _remove_abandoned(root)
        folder.mkdir()
        lock = os.open(folder / LOCK, os.O_CREAT | os.O_WRONLY, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_abandoned(root: Path) -> None:
    for folder in root.iterdir():
        if folder.is_dir() and _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        lock = os.open(folder / LOCK, os.O_WRONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
