"""A job whose engine starts further processes of itself."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.worker.engine.test_pipeline import spec_for
from worker import companions


def run(spec: Any, folder: Path, processes: int) -> tuple[int, Path]:
    out = folder / f"out-{processes}"
    (folder / "spec.json").write_text(spec.model_dump_json())
    command = [sys.executable, "-P", "-m", "worker.child", "--spec", str(folder / "spec.json"), "--out", str(out)]
    with open(folder / "events.jsonl", "wb") as events:
        done = subprocess.run(
            [*command, "--processes", str(processes), "--events-fd", str(events.fileno())],
            pass_fds=(events.fileno(),),
            timeout=250,
            check=False,
        )
    return done.returncode, out


METHODS: dict[str, dict[str, Any]] = {
    "each with the whole model": {},
    "each with a part of it": {"train": {"shard_base": True}, "distillation": {"mode": "online"}},
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_two_processes_make_one_model(
    method: dict[str, Any], small_model: Path, small_text: Path, tmp_path: Path
) -> None:
    train = {"steps": 4, "batch_size": 4, "sequence_length": 64} | method.get("train", {})
    code, out = run(spec_for(small_model, small_text, method=method | {"train": train}), tmp_path, 2)
    assert code == 0
    assert (out / "model" / "model.safetensors").is_file()
    assert json.loads((out / "result.json").read_text())["summary"]["achieved_ratio"] > 0.1
    told = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in told if event["type"] == "progress"] == [1, 2, 3, 4]


def test_what_one_refuses_ends_both(small_model: Path, small_text: Path, tmp_path: Path) -> None:
    train = {"steps": 4, "batch_size": 3, "sequence_length": 64}
    code, out = run(spec_for(small_model, small_text, method={"train": train}), tmp_path, 2)
    assert code == 1
    assert json.loads((out / "error.json").read_text())["code"] == "batch_indivisible"
    assert not (out / "model").exists()


def test_no_more_processes_than_can_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    assert [companions.wanted(size) for size in (16, 12, 7, 1)] == [8, 6, 7, 1]
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    assert companions.wanted(16) == 1
