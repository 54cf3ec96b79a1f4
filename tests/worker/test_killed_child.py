"""The engine's process is killed twice, and what it leaves in the end is what it would have left anyway."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.worker.engine.test_pipeline import spec_for

Event = dict[str, Any]


def run_child(spec: Path, out: Path, checkpoints: Path, until: Callable[[Event], bool]) -> tuple[int, list[Event]]:
    """Run the child, and kill it at the first event that `until` holds for."""
    read_end, write_end = os.pipe()
    command = [sys.executable, "-P", "-m", "worker.child", "--spec", str(spec), "--out", str(out)]
    child = subprocess.Popen(
        [*command, "--checkpoints", str(checkpoints), "--events-fd", str(write_end)], pass_fds=(write_end,)
    )
    os.close(write_end)
    events: list[Event] = []
    with open(read_end, encoding="utf-8") as lines:
        for line in lines:
            events.append(json.loads(line))
            if until(events[-1]):
                child.kill()
                break
    return child.wait(timeout=120), events


def steps(events: list[Event]) -> list[int]:
    return [event["step"] for event in events if event["type"] == "progress"]


def test_killed_twice_and_still_the_same_model(small_model: Path, small_text: Path, tmp_path: Path) -> None:
    train = {"steps": 8, "batch_size": 4, "sequence_length": 64, "checkpoint_every_steps": 2}
    evaluation = {"max_windows": 4, "finetuned_reference": True, "benchmark": False}
    spec = tmp_path / "spec.json"
    spec.write_text(spec_for(small_model, small_text, method={"train": train}, evaluation=evaluation).model_dump_json())
    checkpoints = tmp_path / "checkpoints"

    # Once in the reference's training, once between two prune events, which come after steps 9 to 12.
    code, _ = run_child(spec, tmp_path / "first", checkpoints, lambda event: event.get("step") == 5)
    assert code == -signal.SIGKILL
    code, second = run_child(spec, tmp_path / "second", checkpoints, lambda event: event.get("step") == 12)
    assert code == -signal.SIGKILL
    code, third = run_child(spec, tmp_path / "third", checkpoints, lambda event: False)
    assert code == 0
    code, _ = run_child(spec, tmp_path / "whole", tmp_path / "others", lambda event: False)
    assert code == 0

    assert steps(second)[0] == 5
    assert steps(third) == [*range(steps(third)[0], 17)]
    assert steps(third)[0] in (11, 13)
    weights = "model/model.safetensors"
    assert (tmp_path / "third" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
    results = [json.loads((tmp_path / name / "result.json").read_text())["summary"] for name in ("third", "whole")]
    assert results[0]["dense_finetuned"] == results[1]["dense_finetuned"]
    assert results[0]["pruned"]["perplexity"] == results[1]["pruned"]["perplexity"]
