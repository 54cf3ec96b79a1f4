"""A large file through the service and straight from its S3 server, in turn, by the download of a real client."""

import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import published
from bench.figure import Figure
from bench.memory import MB, resident, resident_peak
from bench.service.rows import settings_of
from cli.stack.stack import Stack
from jobs.files import Files, blob_key
from worker import contents

FILE_BYTES = 2_000_000_000
PIECE_BYTES = 2**20
ROUNDS = 3
LEAST_PART, MEMORY_BAR_MB = 0.9, 150

# The inner part of hf_hub_download, so that both ways are the same but for the address.
DOWNLOAD = """
import os, sys, time
from pathlib import Path
from huggingface_hub.file_download import http_get
url, token, path = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}"} if token else {}
began = time.perf_counter()
with open(path, "wb") as file:
    http_get(url, file, headers=headers)
print(time.perf_counter() - began, os.path.getsize(path))
"""


def measure(stack: Stack, folder: Path) -> Iterator[Figure]:
    weights = folder / "large" / "weights.bin"
    weights.parent.mkdir()
    _write(weights)
    settings = settings_of(stack)
    published.job(settings, weights.parent, output={"repository": "large"})
    (file,) = contents.read(weights.parent, check=lambda: None)
    straight = Files(settings).presign(blob_key(file.sha256), weights.name)
    through = f"{stack.url}/hf/default/large/resolve/main/{weights.name}"
    target = weights.with_name("downloaded")
    api = stack.processes["api"].pid
    before = resident(api)
    ratios, rates = [], []
    for turn in range(ROUNDS + 1):
        direct, served = _seconds(straight, "", target), _seconds(through, stack.api_key, target)
        if turn:  # the first warms up the page cache
            ratios.append(direct / served)
            rates.append(FILE_BYTES / MB / served)
    yield Figure("hub_throughput", statistics.median(rates), "MB/s", 0, at_least=True)
    yield Figure("hub_throughput_of_s3", statistics.median(ratios), "ratio", LEAST_PART, at_least=True)
    yield Figure("hub_memory_growth", (resident_peak(api) - before) / MB, "MB", MEMORY_BAR_MB)


def _write(path: Path) -> None:
    piece = random.Random(0).randbytes(PIECE_BYTES)
    with path.open("wb") as file:
        for _ in range(FILE_BYTES // PIECE_BYTES):
            file.write(piece)
        file.write(piece[: FILE_BYTES % PIECE_BYTES])


def _seconds(url: str, token: str, target: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", DOWNLOAD, url, token, str(target)], capture_output=True, text=True, check=True
    )
    target.unlink()
    seconds, size = done.stdout.split()
    assert int(size) == FILE_BYTES
    return float(seconds)
