"""What is asked of an engine while it works: in a file that may appear, or change, at any time.

A file and not a signal, which would end the process if it came before Python could take it; and of several processes
that train together the first one reads it for all.
"""

from enum import StrEnum
from pathlib import Path


class Order(StrEnum):
    """The content of the file."""

    STOP = "stop"  # keep a checkpoint, and end without a result
    FINISH = "finish"  # train no further, and publish what there is


FILE = "order"
"""Its name, in the folder that an engine writes its result to."""


class Stopped(Exception):
    """The engine was told to stop, and has kept what it could."""


def give(folder: Path, order: Order) -> None:
    """Order it from the engine that writes to this folder; the order before is void."""
    written = folder / f".{FILE}"
    written.write_text(order, encoding="utf-8")
    written.rename(folder / FILE)


class Orders:
    """What is asked now; without a file, nothing ever is."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    def current(self) -> Order | None:
        """The newest order."""
        if self._file is None:
            return None
        try:
            return Order(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def check(self) -> None:
        """Raises Stopped if that was ordered: to be called where nothing is half done."""
        if self.current() is Order.STOP:
            raise Stopped
