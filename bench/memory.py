"""How much memory processes hold, read from /proc."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.stack.family import descendants

MB = 1e6
GB = 1e9


class Peak:
    """The most that a process and everything below it held together, while the context was open."""

    def __init__(self, pid: int, every_seconds: float = 1.0) -> None:
        self.bytes = 0
        self._pid = pid
        self._every_seconds = every_seconds
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_left, name=f"memory of {pid}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()

    def _sample_until_left(self) -> None:
        while True:
            self.bytes = max(self.bytes, of_tree(self._pid))
            if self._left.wait(self._every_seconds):
                return


def of_tree(pid: int) -> int:
    """Bytes held by a process and all below it; what several of them share counts once."""
    return sum(map(proportional, (pid, *descendants(pid))))


def proportional(pid: int) -> int:
    """Bytes of one process, shared pages divided by those who share them; 0 if it has ended."""
    # Only the owner may read the exact figure; what is resident is readable for all, and never less.
    return _field(pid, "smaps_rollup", "Pss") or resident(pid)


def resident(pid: int) -> int:
    """Bytes of one process that are in memory now; 0 if it has ended."""
    return _field(pid, "status", "VmRSS")


def resident_peak(pid: int) -> int:
    """The most that was resident since the process began."""
    return _field(pid, "status", "VmHWM")


def maps(pid: int, library: str) -> int:
    """How many files whose name has `library` in it the process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return len({line.split(maxsplit=5)[5] for line in lines if library in line})


def _field(pid: int, file: str, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
