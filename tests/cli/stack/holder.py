"""A supervisor in a process of its own, which a test may kill."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.stack import privileges
from cli.stack.privileges import Identity
from tests.cli.stack.family import Family

CHECKOUT = Path(__file__).parents[3]


class Holder:
    """A running `tests.cli.stack.hold`, and what it said about its servers."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.process = process
        said = json.loads(process.stdout.readline())
        self.settings: dict[str, str] = said["settings"]
        self.pids: dict[str, int] = said["pids"]
        self.family = Family(process.pid)


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
        process.communicate()
