"""Publications that are killed on their way."""

import os
import subprocess
import sys
from pathlib import Path

from bench.hub.cuts import Found


def test_what_is_visible_after_a_kill_is_whole(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.hub.cuts", str(tmp_path), "2"]
    subprocess.run(command, env=os.environ | environment, check=True, timeout=250)
    found = Found(*map(int, (tmp_path / "found").read_text().split()))
    assert found.half == 0
    assert found.whole == 3 - found.cut
