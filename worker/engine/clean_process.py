"""A module of ours run in a process of its own, which knows nothing but its files and ends when this one does."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def run(module: str, *files: Path) -> str | None:
    """Run `python -m module FILES`; what it said last if it failed, None if it did not."""
    with _lifeline() as lifeline:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, *map(str, files)],
            # Threads that wait must sleep, not spin: the cores may be shared with other workers.
            env={"OMP_WAIT_POLICY": "PASSIVE"} | os.environ | {"HF_HUB_OFFLINE": "1"},
            stdin=lifeline,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode == 0:
        return None
    return next(iter(done.stderr.strip().splitlines()[-1:]), f"exit code {done.returncode}")


@contextmanager
def _lifeline() -> Iterator[int]:
    """The end of a pipe that closes when this process ends, in whatever way: who reads it knows then."""
    end, held = os.pipe()
    try:
        yield end
    finally:
        os.close(end)
        os.close(held)


def end_with_parent() -> None:
    """In the process that was started: end as soon as the one that started it has ended."""
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(os.EX_SOFTWARE)
