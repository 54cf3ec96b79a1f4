"""The real clients, three generations of them: whether each does with us what it does with the Hub."""

import re
import subprocess
import sys
from collections.abc import Iterator

from bench.figure import Figure

TEST = "tests/app/test_hub_clients.py"
CHECKS = 16  # four of each generation, that each is there, and transformers


def measure() -> Iterator[Figure]:
    command = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", TEST]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    passed = re.search(r"(\d+) subtests passed", done.stdout)
    if done.returncode:
        print(done.stdout[-3000:])
    yield Figure("hub_client_checks", int(passed[1]) if passed else 0, "checks", CHECKS, at_least=True)
