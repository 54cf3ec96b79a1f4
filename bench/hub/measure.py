"""What clients of the Hugging Face Hub get from the service: the same answers, soon, and bytes as fast as from S3."""

from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure
from bench.hub import clients, cuts, metadata, throughput
from cli.stack.ports import free_block
from cli.stack.stack import Stack


def measure(folder: Path) -> Iterator[Figure]:
    yield from clients.measure()
    (port,) = free_block(1)
    # Metadata would else be refused as too many requests of one key.
    with Stack(folder / "service", port=port, announce=print, settings={"PRUNERY_RATE_LIMIT_REQUESTS": "0"}) as stack:
        yield from metadata.measure(stack)
        yield from throughput.measure(stack, folder)
    yield from cuts.measure(folder / "cuts")
