"""Learning from the dense model through the real Trainer."""

from pathlib import Path
from typing import Any

import pytest

from jobs import memory
from jobs.specs import JobSpec
from tests.worker.engine.runs import prune, spec_of
from tests.worker.engine.test_pipeline import run, spec_for
from worker.engine import base_models, capacity
from worker.engine.methods import teachers
from worker.engine.reporter import Reporter
from worker.engine.story import Story


def distilled(micro_batch: int, **distillation: Any) -> Any:
    train = {"steps": 8, "micro_batch_size": micro_batch}
    return spec_of(train=train, reconstruction={"enabled": False}, distillation=distillation)


def test_cached_with_every_token_is_online_whatever_the_micro_batch(small_model: Path, tmp_path: Path) -> None:
    vocab = base_models.open_folder(small_model).shape.vocab
    online = prune(small_model, distilled(4, mode="online", weight=0.7, temperature=2.0), tmp_path)
    cached = prune(small_model, distilled(1, mode="cached", weight=0.7, temperature=2.0, top_k=vocab), tmp_path)

    assert cached.plan == online.plan
    assert cached.losses == pytest.approx(online.losses, rel=1e-4)


def test_at_first_only_the_text_is_left_to_learn(small_model: Path, tmp_path: Path) -> None:
    """Before the first step the student is its teacher, so only what the text has in the loss is left of it."""
    off = prune(small_model, distilled(2), tmp_path)
    for mode, top_k in (("online", 64), ("cached", 3)):
        on = prune(small_model, distilled(2, mode=mode, weight=0.75, top_k=top_k), tmp_path)
        assert on.losses[0] == pytest.approx(0.25 * off.losses[0], rel=1e-4)
        assert on.losses[-1] > 0.25 * off.losses[-1]


@pytest.mark.parametrize("fits", [True, False])
def test_the_teacher_is_held_where_there_is_room_and_stays_what_it_was(
    small_model: Path,
    small_text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fits: bool,
) -> None:
    method = {
        "train": {"steps": 2, "batch_size": 4, "sequence_length": 64, "precision": "float32"},
        "distillation": {"mode": "auto", "top_k": 5},
    }
    spec = spec_for(small_model, small_text, method=method)
    shape = base_models.open_folder(small_model).shape
    least = memory.estimate(shape, spec, accelerator=False)
    most = memory.estimate(shape, spec_with(spec, "online"), accelerator=False)
    assert most.peak > least.peak
    monkeypatch.setattr(capacity, "available", lambda: most.peak if fits else most.peak - 1)
    summary, events, _ = run(spec, tmp_path / "run")
    answers = "online" if fits else "cached"
    assert summary["teacher"] == {"answers": answers, "weight": 0.5, "temperature": 1.0}
    noted = [event for event in events if event["type"] == "log" and "notes its 5 likeliest tokens" in event["message"]]
    assert bool(noted) is not fits

    story = Story(Reporter(lambda event: None))
    first = teachers.settled(spec, story, lambda online: online == spec_with(spec, "online") and fits)
    assert first == teachers.settled(spec, story, lambda online: not fits)
    assert first == spec_with(spec, answers)


def spec_with(spec: JobSpec, mode: str) -> JobSpec:
    content = spec.model_dump()
    content["method"]["distillation"]["mode"] = mode
    return JobSpec.model_validate(content)
