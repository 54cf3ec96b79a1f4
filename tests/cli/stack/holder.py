"""A supervisor in a process of its own, which a test may kill."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.stack import privileges
from cli.stack.family import birth, descendants
from cli.stack.privileges import Identity

CHECKOUT = Path(__file__).parents[3]


class Holder:
    """A running `tests.cli.stack.hold`, and what it said about its servers."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.process = process
        said = json.loads(process.stdout.readline())
        self.settings: dict[str, str] = said["settings"]
        self.pids: dict[str, int] = said["pids"]
        self.family = descendants(process.pid)

    def survivors(self) -> set[int]:
        """The processes below it that still live."""
        return {pid for pid, born in self.family.items() if birth(pid) == born and not _is_zombie(pid)}

    def wait_until_gone(self, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while left := self.survivors():
            assert time.monotonic() < deadline, f"still running: {left}"
            time.sleep(0.05)


@contextmanager
def holding(data: Path, identity: Identity | None = None) -> Iterator[Holder]:
    command = [sys.executable, "-m", "tests.cli.stack.hold", str(data)]
    process = subprocess.Popen(
        privileges.launch_command(command, CHECKOUT, identity=identity), stdout=subprocess.PIPE, text=True
    )
    try:
        yield Holder(process)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
