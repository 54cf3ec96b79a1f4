"""Learning from the dense model through the real Trainer."""

from pathlib import Path
from typing import Any

import pytest

from tests.worker.engine.runs import prune, spec_of
from worker.engine import base_models


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
