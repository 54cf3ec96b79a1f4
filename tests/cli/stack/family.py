"""The processes below one, to see them gone."""

import time
from pathlib import Path

from cli.stack.family import descendants, lives


class Family:
    """Everything that a process had started when this was made."""

    def __init__(self, pid: int) -> None:
        self._births = descendants(pid)
        self.pids = tuple(self._births)

    def survivors(self) -> list[str]:
        """The command lines of those that still live."""
        return [command_line(pid) for pid, born in self._births.items() if lives(pid, born)]

    def wait_until_gone(self, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while left := self.survivors():
            assert time.monotonic() < deadline, f"still running: {left}"
            time.sleep(0.05)


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
