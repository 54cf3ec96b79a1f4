"""Whole runs of the Trainer under every budget: the goal is met, and the model is its plan."""

from pathlib import Path
from typing import Any

import pytest

from jobs import goals
from jobs.sources import LocalData
from tests.worker.engine.runs import Run, job_of, prune, spec_of
from worker.engine import base_models, datasets, export, padding
from worker.engine.architectures import family

BUDGETS: dict[str, dict[str, Any]] = {
    "protected": {"ratio": 0.3, "budget": {"allocation": "protected"}},  # the small model may have four layers only
    "adaptive": {"budget": {"allocation": "adaptive"}},
    "adaptive, heads alone": {"ratio": 0.15, "scope": ["attention_heads"], "budget": {"allocation": "adaptive"}},
    "global": {"budget": {"allocation": "global"}},
    "a layer and widths": {"layers_to_remove": 1},
    "a layer, then by score": {"layers_to_remove": 1, "budget": {"allocation": "global"}},
    "a layer, silent until the last event": {"layers_to_remove": 1, "schedule": {"cut": "last_event"}},
}


@pytest.mark.parametrize("fields", BUDGETS.values(), ids=BUDGETS.keys())
def test_every_budget_is_met_and_the_model_is_its_plan(
    small_model: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    spec = spec_of(train={"steps": 6}, **{"ratio": 0.5} | fields)
    shape = base_models.open_folder(small_model).shape
    run = prune(small_model, spec, tmp_path)

    goal = goals.goal(shape, job_of(spec))
    by_channels = "mlp_channels" in spec.scope
    quantum = spec.ffn_multiple * shape.ffn_channel_cost if by_channels else shape.kv_group_cost
    assert abs(run.plan.removed(shape) - goal.removed) <= (0 if goal.layout else quantum)
    assert len(run.plan.layers) == shape.layers - spec.layers_to_remove
    assert {0, shape.layers - 1} <= {layer.index for layer in run.plan.layers}
    if spec.budget.allocation != "uniform":
        assert len(set(run.plan.layout)) > 1
    state = padding.padded(run.state, family(shape), shape, run.plan)
    config = base_models.open_folder(small_model).stock_config()
    export.assemble(export.stock_config(config, shape, run.plan), state)  # every name and shape fits


def test_a_limit_on_perplexity_takes_the_last_cut_back(small_model: Path, small_text: Path, tmp_path: Path) -> None:
    tokenizer = base_models.open_folder(small_model).tokenizer()
    text = datasets.read(LocalData(source="local", path=str(small_text)), tokenizer, length=32, seed=0).first(40)

    def walked(increase: float, folder: Path) -> Run:
        target = {"type": "perplexity", "increase": increase, "largest_ratio": 0.6, "windows": 8}
        # Next to no learning, which would make good what a cut costs.
        train = {"steps": 30, "learning_rate": 1e-6}
        spec = spec_of(ratio=None, target=target, train=train, schedule={"prune_every_steps": 1})
        return prune(small_model, spec, folder, windows=text)

    whole = walked(10.0, tmp_path / "whole").walk
    assert whole is not None
    assert whole.refused is None
    run = walked((whole.kept / whole.dense - 1) / 2, tmp_path / "half")
    shape = base_models.open_folder(small_model).shape

    assert run.walk is not None
    assert run.walk.refused is not None
    assert run.walk.kept <= run.walk.limit < run.walk.refused
    assert 0 < run.plan.removed(shape) < 0.6 * shape.block_parameters
    cuts = [event for event in run.events if event["type"] == "prune"]
    assert cuts[-1]["sparsity"] == pytest.approx(run.plan.removed(shape) / shape.block_parameters)
    sizes = {name: tensor.shape[0] for name, tensor in run.state.items() if name.endswith("up_proj.weight")}
    assert list(sizes.values()) == [layer.ffn for layer in run.plan.layout]
