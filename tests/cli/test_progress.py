"""What people see of a running job."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from cli.progress import LABELS, QUEUED, Display, LineDisplay, LiveDisplay, open_display
from cli.resources import Progress
from jobs.states import PHASES

START = datetime(2026, 1, 1, tzinfo=UTC)
HALFWAY = Progress(
    percent=50,
    step=836,
    total_steps=2000,
    sparsity=0.1234,
    sparsity_target=0.3,
    loss=2.3012,
    tokens_per_second=1812.4,
    eta_seconds=4893,
)

DETAILS = "step 836/2000 · removed 12.3 of 30.0 % · loss 2.301 · 1,812 tokens/s"


def console(*, terminal: bool, width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None, _environ={})


def walk(display: Display) -> None:
    with display:
        display.phase(QUEUED, START)
        display.phase("preparing", START + timedelta(seconds=3))
        display.phase("pruning", START + timedelta(seconds=63))
        display.progress(HALFWAY)
        display.note("The text is short.")
        display.finish(START + timedelta(seconds=3663), succeeded=True)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_phase_has_words() -> None:
    assert set(LABELS) == {QUEUED, *PHASES}


def drawn(progress: Progress, width: int) -> list[str]:
    screen = console(terminal=True, width=width)
    display = LiveDisplay(screen)
    display.phase("pruning", START)
    display.progress(progress)
    screen.print(display.render())
    return written(screen).splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_says_how_far_and_how_long_within_the_screen(width: int) -> None:
    bar, details = drawn(HALFWAY, width)
    assert len(bar) == width
    assert "tuning and pruning" in bar
    assert "50 %" in bar
    assert "1:21:33 left" in bar
    assert details.strip() == DETAILS
    full, _ = drawn(Progress(percent=100), width)
    assert full.count("━") > width / 3
    assert abs(bar.count("━") - full.count("━") / 2) <= 1


def test_a_terminal_keeps_the_finished_phases_with_their_times() -> None:
    screen = console(terminal=True)
    display = open_display(screen)
    walk(display)
    assert isinstance(display, LiveDisplay)
    text = written(screen)
    for line in (
        "✓ waiting for a worker      0:03",
        "✓ preparing                 1:00",
        "✓ tuning and pruning        1:00:00",
    ):
        assert line in text
    assert "! The text is short." in text


def test_elsewhere_each_change_is_a_line_of_plain_text() -> None:
    file = console(terminal=False)
    display = open_display(file)
    assert isinstance(display, LineDisplay)
    walk(display)
    lines = [line.split(" ", 1)[1] for line in written(file).splitlines()]
    assert lines == [
        "waiting for a worker",
        "preparing",
        "tuning and pruning",
        f"tuning and pruning · 50 % · {DETAILS} · 1:21:33 left",
        "! The text is short.",
    ]


def test_a_long_run_does_not_fill_a_file() -> None:
    file = console(terminal=False)
    display = LineDisplay(file)
    for step in range(1000):
        display.progress(Progress(percent=step / 10, step=step, total_steps=1000))
    assert 10 <= len(written(file).splitlines()) <= 21
