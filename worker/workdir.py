"""The folder of one attempt, which nobody finds any more afterwards, but for a finished model that could not leave."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.leases import Claim

LOCK = ".lock"
FINISHED = ".finished"
KEPT_SECONDS = 86_400.0


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


def keep(root: Path, claim: Claim, out: Path) -> None:
    """Keep what the engine has finished, for a day at most: the next attempt on this machine need not make it again."""
    target = _finished(root, claim)
    shutil.rmtree(target, ignore_errors=True)
    os.sync()  # whoever finds it takes it for whole
    out.rename(target)
    target.touch()


def take(root: Path, claim: Claim, out: Path) -> bool:
    """Move what an earlier attempt has kept to where the engine's result is expected, if there is such a thing."""
    try:
        _finished(root, claim).rename(out)
    except FileNotFoundError:
        return False
    return True


def _finished(root: Path, claim: Claim) -> Path:
    return root / f"{claim.job_id}.{claim.first_attempt}{FINISHED}"


def _remove_abandoned(root: Path) -> None:
    for folder in root.iterdir():
        if folder.is_dir() and _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    if folder.name.endswith(FINISHED):
        return time.time() - folder.stat().st_mtime > KEPT_SECONDS
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
