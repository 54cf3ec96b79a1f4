"""The engine without a service."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import PRUNERY, prunery

SMALL = [
    "--set",
    "method.round_ffn_to=4",
    "--set",
    "method.train.sequence_length=64",
    "--set",
    "method.train.batch_size=2",
]
QUICK = ["--set", "evaluation.finetuned_reference=false", "--set", "evaluation.benchmark=false"]


def test_a_model_becomes_smaller(small_model: Path, small_text: Path, tmp_path: Path) -> None:
    arguments = ["--model", str(small_model), "--data", str(small_text), "--ratio", "0.3", "--steps", "4"]
    done = prunery("compress", *arguments, *SMALL, *QUICK, "--out", "small", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["pruned"]["parameters"] < summary["dense"]["parameters"]
    assert {"config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "small").iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    assert "measuring the result" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ratio", "0.95"], "/method/ratio"),
        (["--ratio", "0.3", "--set", "method.train.stepz=3"], "/method/train/stepz"),
        (["--ratio", "0.3", "--model", "./nowhere"], "/base_model"),
        (["--ratio", "0.3", "--data", "nowhere.jsonl"], "/dataset"),
        (["--ratio", "0.3", "--set", "dataset={source: file, id: file_1}"], "no service"),
        (["--ratio", "0.3", "--out", "full"], "not empty"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text('{"text": "hello"}\n')
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    given = ["--model", "org/name", "--data", "text.jsonl", "--out", "out", *arguments]
    done = prunery("compress", *given, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_one_of_many_that_torchrun_started_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text('{"text": "hello"}\n')
    given = ["--model", "org/name", "--data", "text.jsonl", "--ratio", "0.3", "--out", "out"]
    done = prunery("compress", *given, cwd=tmp_path, WORLD_SIZE="2", RANK="1")
    assert done.returncode == 2
    assert "without torchrun" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume"], "--checkpoints too"),
        (["--resume", "--checkpoints", "none"], "no checkpoint in none"),
        (["--checkpoints", "kept"], "add --resume"),
    ],
)
def test_nobody_resumes_by_accident(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "kept" / "checkpoint-00000001").mkdir(parents=True)
    (tmp_path / "text.jsonl").write_text('{"text": "hello"}\n')
    given = ["--model", "org/name", "--data", "text.jsonl", "--ratio", "0.3", "--out", "out", *arguments]
    done = prunery("compress", *given, cwd=tmp_path)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.replace("│", "").split())


def test_what_the_engine_refuses_is_told_and_leaves_nothing(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text('{"text": "Too short."}\n')
    given = ["--model", str(small_model), "--data", "text.jsonl", "--ratio", "0.3"]
    done = prunery("compress", *given, *SMALL, "--out", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "(dataset_" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["text.jsonl"]


@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_whoever_ends_it_ends_the_engine(
    end: signal.Signals, code: int, small_model: Path, small_text: Path, tmp_path: Path
) -> None:
    given = ["--model", str(small_model), "--data", str(small_text), "--ratio", "0.3", "--steps", "100000"]
    command = subprocess.Popen(
        [*PRUNERY, "compress", *given, "--out", "out"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert command.stderr is not None
    assert "preparing" in command.stderr.readline()
    engines = _children(command.pid)
    assert len(engines) == 1
    command.send_signal(end)
    assert command.wait(timeout=60) == code
    assert not any(Path(f"/proc/{pid}").exists() for pid in engines)
    assert list(tmp_path.iterdir()) == []


def _children(pid: int) -> list[int]:
    end = time.monotonic() + 30
    while not (found := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        assert time.monotonic() < end
    return [int(child) for child in found]
