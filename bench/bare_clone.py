"""What a newcomer waits for: `make test` in a fresh clone of the last commit, installation included."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure

SECONDS_BAR = 900
CHECKOUT = Path(__file__).parents[1]


def measure(folder: Path) -> Iterator[Figure]:
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(clone)], check=True)
    began = time.monotonic()
    # Neither this virtual environment nor what `make bench` told its children is known to a newcomer.
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    subprocess.run(["make", "test"], cwd=clone, env=environment, check=True)
    yield Figure("test_seconds", time.monotonic() - began, "s", SECONDS_BAR)


_OURS = frozenset({"VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PRUNERY_TEST_DATA"})
