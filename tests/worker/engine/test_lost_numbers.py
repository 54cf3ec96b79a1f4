"""A run in which a weight is lost ends by name at the very next step, and no checkpoint holds what is lost."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import PreTrainedModel

from jobs import errors
from tests.worker.engine.runs import prune, spec_of
from worker.engine.base_models import BaseModel
from worker.engine.checkpoints import stored

# Cuts are in steps 2, 4 and 6, checkpoints after each third.


@pytest.mark.parametrize(
    ("after", "error", "says"),
    [
        pytest.param(2, errors.LossNotFinite, "At step 3 the loss is nan", id="between cuts"),
        pytest.param(5, errors.ScoreNotFinite, "The importance of .* is NaN", id="at a cut, where scores see it first"),
        pytest.param(7, errors.LossNotFinite, "At step 8 the loss is nan", id="in recovery"),
        pytest.param(9, errors.LossNotFinite, "The perplexity is NaN", id="where a checkpoint is due"),
    ],
)
def test_a_lost_weight_ends_the_run(
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    error: type[errors.RunError],
    says: str,
) -> None:
    models: list[PreTrainedModel] = []
    load = BaseModel.load

    def loaded(*arguments: Any) -> PreTrainedModel:
        models.append(load(*arguments))
        return models[-1]

    def lose(event: dict[str, Any]) -> None:
        if event["type"] == "progress" and event["step"] == after:
            factors = [weight for name, weight in models[0].named_parameters() if "lora_B" in name]
            factors[-1].data[0, 0] = float("nan")

    monkeypatch.setattr(BaseModel, "load", loaded)
    kept = tmp_path / "checkpoints"
    with pytest.raises(error, match=says):
        prune(small_model, spec_of(), tmp_path, checkpoints=kept, every=3, on_event=lose)
    found = stored(kept)
    assert len(found) == sum(step < after for step in (3, 6))
    for file in (file for folder in found for file in folder.rglob("*.safetensors")):
        assert all(bool(tensor.isfinite().all()) for tensor in load_file(file).values())
