"""A running job on the screen: a bar that moves on a terminal, one line for each change elsewhere."""

import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli.resources import Progress

QUEUED = "queued"
LABELS = {
    QUEUED: "waiting for a worker",
    "preparing": "preparing",
    "downloading_base": "fetching the model",
    "loading_data": "reading the text",
    "baseline_eval": "measuring the dense model",
    "reference_tuning": "tuning the dense model",
    "scoring": "tuning and scoring",
    "pruning": "tuning and pruning",
    "recovering": "recovering",
    "merging": "merging",
    "exporting": "exporting",
    "verifying": "verifying the export",
    "converting": "writing other formats",
    "evaluating": "measuring the result",
    "uploading": "publishing",
}
LABEL_WIDTH = max(map(len, LABELS.values()))

# A line on a screen that is not a terminal is worth so much progress, or so much time without any.
LINE_PERCENT = 5.0
LINE_SECONDS = 30.0


class Display(Protocol):
    """Shows a job. A context manager: the screen is left tidy at its end, whatever ended it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def phase(self, name: str, at: datetime) -> None:
        """The job has entered a phase, or `QUEUED`."""

    def progress(self, progress: Progress) -> None:
        """How far it is."""

    def note(self, message: str) -> None:
        """Something out of the ordinary."""

    def finish(self, at: datetime, *, succeeded: bool) -> None:
        """The job has ended."""


def open_display(console: Console) -> Display:
    """The display that suits the console."""
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else LineDisplay(console)


class LiveDisplay:
    """Finished phases with their times, and below them a bar for the current one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("dots", style="cyan")
        self._phase: str | None = None
        self._since = datetime.now(UTC)
        self._progress = Progress()
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def phase(self, name: str, at: datetime) -> None:
        if name == self._phase:
            return
        self._close_phase(at, succeeded=True)
        self._phase, self._since = name, at

    def progress(self, progress: Progress) -> None:
        self._progress = progress

    def note(self, message: str) -> None:
        self._console.print(Text(f"! {message}", style="yellow"))

    def finish(self, at: datetime, *, succeeded: bool) -> None:
        self._close_phase(at, succeeded=succeeded)

    def render(self) -> RenderableType:
        """What is below the finished phases now."""
        if self._phase is None:
            return Text("")
        percent = self._progress.percent
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column()
        row.add_column(width=LABEL_WIDTH)
        row.add_column(ratio=1)
        row.add_column(justify="right", width=len("100 %"))
        row.add_column(justify="right", width=13)
        row.add_row(
            self._spinner,
            Text(label(self._phase), style="bold"),
            ProgressBar(total=100, completed=percent or 0, pulse=percent is None),
            Text("" if percent is None else f"{percent:.0f} %"),
            Text(
                time_left(self._progress) or duration((datetime.now(UTC) - self._since).total_seconds()), style="cyan"
            ),
        )
        return Group(row, Text("  " + " · ".join(details(self._progress)), style="dim"))

    def _close_phase(self, at: datetime, *, succeeded: bool) -> None:
        if self._phase is None:
            return
        plain = self._console.options.ascii_only
        sign, style = (("+" if plain else "✓"), "green") if succeeded else (("x" if plain else "✗"), "red")
        took = duration((at - self._since).total_seconds())
        self._console.print(Text.assemble((sign, style), f" {label(self._phase):<{LABEL_WIDTH}} ", (took, "dim")))
        self._phase = None


class LineDisplay:
    """For files, pipes and logs of other programs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase: str | None = None
        self._said = Progress()
        self._said_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def phase(self, name: str, at: datetime) -> None:
        if name != self._phase:
            self._phase = name
            self._say(label(name))

    def progress(self, progress: Progress) -> None:
        moved = abs((progress.percent or 0.0) - (self._said.percent or 0.0))
        waited = time.monotonic() - self._said_at
        percent = [] if progress.percent is None else [f"{progress.percent:.0f} %"]
        parts = [*percent, *details(progress), time_left(progress)]
        if any(parts) and progress != self._said and (moved >= LINE_PERCENT or waited >= LINE_SECONDS):
            self._said, self._said_at = progress, time.monotonic()
            self._say(" · ".join(part for part in (label(self._phase or QUEUED), *parts) if part))

    def note(self, message: str) -> None:
        self._say(f"! {message}")

    def finish(self, at: datetime, *, succeeded: bool) -> None:
        pass

    def _say(self, line: str) -> None:
        self._console.print(Text(f"{datetime.now():%H:%M:%S} {line}"), soft_wrap=True)


def label(phase: str) -> str:
    """A phase in words; one that a newer engine added, as it calls itself."""
    return LABELS.get(phase, phase.replace("_", " "))


def details(progress: Progress) -> list[str]:
    """What is known of a running job, in the order in which people look for it."""
    parts = []
    if progress.step is not None and progress.total_steps:
        parts.append(f"step {progress.step}/{progress.total_steps}")
    if progress.sparsity is not None:
        target = "" if progress.sparsity_target is None else f" of {100 * progress.sparsity_target:.1f}"
        parts.append(f"removed {100 * progress.sparsity:.1f}{target} %")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.tokens_per_second is not None:
        parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    return parts


def time_left(progress: Progress) -> str:
    """Empty while the engine cannot know."""
    return "" if progress.eta_seconds is None else f"{duration(progress.eta_seconds)} left"


def duration(seconds: float) -> str:
    """`0:07`, `12:34` or `1:02:03`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
