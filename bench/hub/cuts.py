"""Publishing that is killed at a random point: what it leaves is seen whole, or not at all."""

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2

from bench.figure import Figure
from cli.stack.stack import Stack

CUTS = 10
FILES, FILE_BYTES = 12, 2 * 2**20

PUBLISH = """
import sys
from pathlib import Path
from bench import published
from jobs.settings import load
settings = load()
print("begun", flush=True)
published.job(settings, Path(sys.argv[1]), output={"repository": sys.argv[2]})
"""


def measure(stack: Stack, folder: Path) -> Iterator[Figure]:
    chance = random.Random(0)
    whole = _folder(folder / "whole", chance)
    longest = _publish(stack, whole, "whole")
    halves = 0 if _seen(stack, whole, "whole") == FILES else 1
    unseen = 0
    for number in range(CUTS):
        cut = _folder(folder / f"cut-{number}", chance)
        _publish(stack, cut, cut.name, kill_after=chance.uniform(0, longest))
        seen = _seen(stack, cut, cut.name)
        halves += seen not in (None, FILES)
        unseen += seen is None
    yield Figure("hub_half_revisions_after_cuts", halves, f"of {CUTS}", 0)
    yield Figure("hub_cuts_before_the_end", unseen, f"of {CUTS}", 1, at_least=True)


def _folder(at: Path, chance: random.Random) -> Path:
    at.mkdir()
    for number in range(FILES):
        (at / f"model-{number}.safetensors").write_bytes(bytes(8) + chance.randbytes(FILE_BYTES))
    return at


def _publish(stack: Stack, folder: Path, repository: str, kill_after: float | None = None) -> float:
    """Seconds that it took; the worker's own code, in a process that can be killed."""
    environment = os.environ | stack.servers.settings()
    command = [sys.executable, "-c", PUBLISH, str(folder), repository]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        began = time.perf_counter()
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        process.wait()
    assert kill_after is not None or process.returncode == 0
    return time.perf_counter() - began


def _seen(stack: Stack, folder: Path, repository: str) -> int | None:
    """How many of the files can be read as they were; None if there is no such model."""
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    with httpx2.Client(base_url=f"{stack.url}/hf", headers=headers, trust_env=False, timeout=60) as client:
        info = client.get(f"/api/models/default/{repository}")
        if info.status_code == 404:
            return None
        names = [entry["rfilename"] for entry in info.raise_for_status().json()["siblings"]]
        bodies = {name: client.get(f"/default/{repository}/resolve/main/{name}").content for name in names}
    return sum(_digest(body) == _digest((folder / name).read_bytes()) for name, body in bodies.items())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
