"""What the API holds in memory after large files went through it, in both directions."""

import os
from collections.abc import Iterator
from pathlib import Path

from bench import published
from bench.figure import Figure
from bench.memory import MB, maps, resident, resident_peak
from bench.service.rows import settings_of
from cli.client import Client
from cli.connection import Connection
from cli.demo import text
from cli.stack.ports import free_block
from cli.stack.stack import Stack

FILE_BYTES = 300_000_000
MEMORY_BAR_MB = 150


def measure(folder: Path) -> Iterator[Figure]:
    upload = _text(folder / "train.txt")
    weights = folder / "model" / "weights.bin"
    weights.parent.mkdir()
    weights.write_bytes(os.urandom(FILE_BYTES))
    (port,) = free_block(1)
    with (
        Stack(folder / "service", port=port, announce=print) as stack,
        Client(Connection(stack.url, stack.api_key)) as client,
    ):
        api = stack.processes["api"].pid
        print(f"Uploading {FILE_BYTES:,} bytes", flush=True)
        assert client.upload(upload).bytes == FILE_BYTES
        job_id = published.job(settings_of(stack), weights.parent)
        print(f"Downloading {FILE_BYTES:,} bytes", flush=True)
        with client.artifact(job_id, weights.name, {}) as response:
            assert sum(map(len, response.iter_bytes())) == FILE_BYTES
        yield Figure("api_memory", resident(api) / MB, "MB", MEMORY_BAR_MB)
        yield Figure("api_memory_peak", resident_peak(api) / MB, "MB", MEMORY_BAR_MB)
        yield Figure("api_torch_libraries", maps(api, "torch"), "files", 0)


def _text(file: Path) -> Path:
    """Real prose over and over, of the size wanted."""
    prose = text.prepare(file.parent / "prose").train.read_text().encode("ascii", "ignore")
    with file.open("wb") as out:
        while left := FILE_BYTES - out.tell():
            out.write(prose[:left])
    return file
