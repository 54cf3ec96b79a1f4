"""Bytes on their way, up or down: a bar for each file on a terminal, one line for each elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from cli.numbers import size
from cli.resources import Artifact


class ByteBar:
    """A context manager; hears of a transfer what `cli.transfer.Watcher` says."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._task: TaskID | None = None
        self._name = ""
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, name: str, total: int, have: int = 0) -> None:
        """The next file, or the same one again after a pause."""
        if name == self._name and self._task is not None:
            self._bars.update(self._task, completed=have)
            return
        self._name = name
        self._task = self._bars.add_task(name, total=total, completed=have)
        if not self._console.is_terminal:
            self.note(f"{name} ({size(total)})")

    def start(self, artifact: Artifact, have: int) -> None:
        self.begin(artifact.path, artifact.bytes, have)

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._bars.advance(self._task, count)

    def note(self, message: str) -> None:
        self._console.print(Text(message), soft_wrap=True)
