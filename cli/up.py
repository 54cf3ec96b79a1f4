"""`prunery up`: everything on this machine, until Ctrl-C."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from cli.stack.stack import Stack

DEFAULT_DATA = Path("prunery-data")


class Interrupted(BaseException):
    """Somebody asked us to end."""


@click.command(epilog="Example: prunery up --data ~/prunery --port 9000 --local ~/models")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA,
    show_default=True,
    help="Folder for everything that is kept; a second start goes on with it.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address on which the API listens.")
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=8000,
    show_default=True,
    help="Port of the API; the next free one if it is taken.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Jobs that run at once.")
@click.option(
    "--local",
    "local_roots",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    multiple=True,
    help="Folder from which jobs may read models and data by their path; none by default. May be given often.",
)
def up(data: Path, host: str, port: int, workers: int, local_roots: tuple[Path, ...]) -> None:
    """Run the whole service on this machine until Ctrl-C.

    Starts PostgreSQL, a broker, an object store, the API and its workers, and stops all of them together.
    """
    console = Console(highlight=False)
    stack = Stack(
        data,
        host=host,
        port=port,
        workers=workers,
        settings={"PRUNERY_LOCAL_ROOTS": json.dumps([str(root) for root in local_roots])} if local_roots else None,
        announce=lambda line: console.print(line, markup=False, soft_wrap=True),
    )
    try:
        with _interruptible():
            stack.start()
            try:
                _greet(console, stack)
                stack.watch()
            finally:
                console.print("Stopping")
                stack.stop()
    except Interrupted:
        console.print("Stopped")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn the first request to end into Interrupted; at a second one, end without waiting for anything."""
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            # Every part is bound to this process and ends with it.
            os._exit(128 + number)
        asked = True
        raise Interrupted

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _greet(console: Console, stack: Stack) -> None:
    lines = (
        f"Prunery is up at {stack.url}",
        "In another terminal:",
        f"  export PRUNERY_URL={stack.url} PRUNERY_API_KEY={stack.api_key}",
        "  prunery list",
        f"Data: {stack.servers.folder.root}   Logs: {stack.servers.folder.logs}",
        "Ctrl-C stops everything.",
    )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
