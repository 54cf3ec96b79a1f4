"""What the health check of a relay or a worker says."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker import pulse


def check(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "worker.pulse"]
    return subprocess.run(
        command, env={**os.environ, pulse.VARIABLE: str(file)}, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize(
    ("age_seconds", "says"),
    [(0.0, ""), (pulse.STALE_SECONDS - 20, ""), (pulse.STALE_SECONDS + 1, "last touched"), (None, "not there")],
)
def test_a_process_lives_if_its_pulse_is_young(age_seconds: float | None, says: str, tmp_path: Path) -> None:
    file = tmp_path / "pulse"
    if age_seconds is not None:
        pulse.beat(file)
        os.utime(file, times=(time.time() - age_seconds,) * 2)
    done = check(file)
    assert done.returncode == (1 if says else 0)
    assert says in done.stderr


def test_a_beat_makes_an_old_pulse_young(tmp_path: Path) -> None:
    file = tmp_path / "pulse"
    pulse.beat(file)
    os.utime(file, times=(0, 0))
    pulse.beat(file)
    assert check(file).returncode == 0
