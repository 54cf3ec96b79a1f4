"""The engine's process is killed or told to end, and what it leaves in the end is what it would have left anyway."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.worker.engine.test_pipeline import spec_for
from worker import process
from worker.engine import orders
from worker.engine.orders import Order

Event = dict[str, Any]


def run_child(
    spec: Path, out: Path, checkpoints: Path, until: Callable[[Event], bool], order: Order | None = None
) -> tuple[int, list[Event]]:
    """Run the child, and kill it at the first event that `until` holds for, or give it an order instead."""
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
                if order is None:
                    child.kill()
                    break
                orders.give(out, order)
    return child.wait(timeout=120), events


def steps(events: list[Event]) -> list[int]:
    return [event["step"] for event in events if event["type"] == "progress"]


def test_killed_twice_and_still_the_same_model(small_model: Path, small_text: Path, tmp_path: Path) -> None:
    train = {"steps": 8, "batch_size": 4, "sequence_length": 64}
    evaluation = {"max_windows": 4, "finetuned_reference": True, "benchmark": False}
    spec = tmp_path / "spec.json"
    spec.write_text(
        spec_for(
            small_model, small_text, method={"train": train}, checkpoint={"every_steps": 2}, evaluation=evaluation
        ).model_dump_json()
    )
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


def test_a_job_in_its_reference_that_is_to_finish_leaves_that_out(
    small_model: Path, small_text: Path, tmp_path: Path
) -> None:
    """It is stopped once more on the way, outside its training; what was ordered holds for the next process too."""
    spec, checkpoints = tmp_path / "spec.json", tmp_path / "checkpoints"
    evaluation = {"max_windows": 4, "finetuned_reference": True, "benchmark": False}
    spec.write_text(spec_for(small_model, small_text, evaluation=evaluation).model_dump_json())

    def in_step(step: int) -> Callable[[Event], bool]:
        return lambda event: event.get("step") == step

    def exporting(event: Event) -> bool:
        return event.get("phase") == "exporting"

    code, first = run_child(spec, tmp_path / "first", checkpoints, in_step(3), Order.STOP)
    assert code == process.STOPPED
    assert steps(first)[-1] < 12
    assert not (tmp_path / "first" / "result.json").exists()
    (tmp_path / "second").mkdir()
    orders.give(tmp_path / "second", Order.FINISH)
    code, second = run_child(spec, tmp_path / "second", checkpoints, exporting, Order.STOP)
    assert code == process.STOPPED
    assert [event["phase"] for event in second if event["type"] == "phase"][-1] in ("exporting", "verifying")
    (tmp_path / "third").mkdir()
    orders.give(tmp_path / "third", Order.FINISH)
    code, third = run_child(spec, tmp_path / "third", checkpoints, lambda event: False)
    assert code == 0
    summary = json.loads((tmp_path / "third" / "result.json").read_text())["summary"]
    assert summary["dense_finetuned"] is None
    assert 0 < summary["achieved_ratio"] < summary["requested_ratio"]
    assert summary["ended_early_at"] == steps(second)[-1] < 24
    assert steps(third) == []
