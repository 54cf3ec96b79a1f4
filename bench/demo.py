"""What the demo costs: `prunery demo` into an empty folder, its time and the memory of every process it starts."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench import exactness
from bench.figure import Figure
from bench.memory import GB, Peak

SECONDS_BAR = 720
MEMORY_BAR_GB = 10


def measure(folder: Path) -> Iterator[Figure]:
    began = time.monotonic()
    with (
        subprocess.Popen([sys.executable, "-m", "cli", "demo", "--folder", str(folder)]) as demo,
        Peak(demo.pid) as peak,
    ):
        try:
            code = demo.wait()
        except BaseException:
            # It ends all that it started; without us nobody would tell it to.
            demo.terminate()
            raise
    if code != 0:
        raise subprocess.CalledProcessError(code, demo.args)
    yield Figure("demo_seconds", time.monotonic() - began, "s", SECONDS_BAR)
    yield Figure("demo_memory_peak", peak.bytes / GB, "GB", MEMORY_BAR_GB)
    yield from exactness.published(folder / "model", prefix="demo_")
