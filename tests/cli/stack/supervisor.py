"""A `prunery up` in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.cli.stack.family import Family, command_line
from tests.cli.stack.holder import CHECKOUT

UP = [sys.executable, "-c", "from cli.main import main; main()", "up"]


class Supervisor:
    """A running `prunery up`, and what it said when it was ready."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.process = process
        self.greeting = ""
        for line in process.stdout:
            self.greeting += line
            if "Ctrl-C" in line:
                return
        raise AssertionError(self.greeting + process.communicate()[1])

    def family(self) -> Family:
        """What it has started by now."""
        return Family(self.process.pid)

    def pid_of(self, words: str) -> int:
        """The first process, from the top, whose command line holds these words."""
        return next(pid for pid in self.family().pids if words in command_line(pid))

    def end(self) -> tuple[int, str]:
        """Wait for its end: its exit code and what it said at last."""
        said, complaint = self.process.communicate(timeout=120)
        return self.process.returncode, said + complaint


@contextmanager
def supervising(data: Path, *options: str, settings: Mapping[str, str] | None = None) -> Iterator[Supervisor]:
    process = subprocess.Popen(
        [*UP, "--data", str(data), *options],
        cwd=CHECKOUT,
        env=os.environ | {"NO_COLOR": "1"} | dict(settings or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Supervisor(process)
    finally:
        process.kill()
        process.communicate()
