"""What `python -m bench` does with measurements that fail or fall short."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench.figure import Figure


def falls_short(folder: Path) -> Iterator[Figure]:
    assert folder.is_dir()
    (folder / "rows").touch()
    yield Figure("first", 2, "s", 1)
    yield Figure("third", 1, "s", 1)


def is_well(folder: Path) -> Iterator[Figure]:
    yield Figure("fourth", 1, "s", 1)


def fails(folder: Path) -> Iterator[Figure]:
    yield Figure("second", 1, "s", 1)
    (folder / "log").write_text("why")
    raise OSError("the disk went away")


@pytest.fixture(autouse=True)
def _measurements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "MEASUREMENTS", {"falls_short": falls_short, "fails": fails, "is_well": is_well})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def run(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr("sys.argv", ["bench", *names])
    bench.main()


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("BENCH ")]


def test_a_figure_that_falls_short_keeps_the_folder_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run(monkeypatch, "is_well")
    assert not list(tmp_path.iterdir())
    run(monkeypatch, "falls_short")
    assert lines(capsys) == ["BENCH fourth 1 s 1 ok", "BENCH first 2 s 1 short", "BENCH third 1 s 1 ok"]
    assert len(list(tmp_path.rglob("rows"))) == 1


def test_a_measurement_that_fails_keeps_its_folder_and_not_the_others_from_being_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="could not be measured: fails"):
        run(monkeypatch, "fails", "falls_short")
    assert lines(capsys) == ["BENCH second 1 s 1 ok", "BENCH first 2 s 1 short", "BENCH third 1 s 1 ok"]
    assert [path.read_text() for path in tmp_path.rglob("log")] == ["why"]


def test_an_unknown_measurement_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"unknown: speed; there are falls_short, fails, is_well"):
        run(monkeypatch, "speed")
