"""Every kind of target comes to the parameters that it names, or is refused by name."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import errors, goals, widths
from jobs.goals import Goal
from jobs.outline import forecast, outline
from jobs.shapes import ModelShape
from jobs.specs import JobSpec
from jobs.widths import Widths

SMOL = ModelShape(
    family="llama", layers=30, hidden=576, heads=9, kv_heads=3, head_dim=64, ffn=1536, vocab=49152,
    max_positions=8192, norms=2 * 576, outside=49152 * 576 + 576, tied=True,
)  # fmt: skip
STEP = SMOL.layers * 64 * SMOL.ffn_channel_cost
BIASED = ModelShape(
    family="qwen2", layers=28, hidden=3584, heads=28, kv_heads=4, head_dim=128, ffn=18944, vocab=152064,
    max_positions=32768, norms=2 * 3584, outside=2 * 152064 * 3584 + 3584, qkv_bias=True,
)  # fmt: skip
"""Whose host with fewer heads wants a bias that it has not."""


def job(output: dict[str, Any] | None = None, **method: Any) -> JobSpec:
    nowhere = {"source": "local", "path": "/nowhere"}
    return JobSpec.model_validate(
        {
            "base_model": nowhere,
            "dataset": nowhere,
            "method": {"type": "lora_prune", **method},
            "output": output or {},
        }
    )


def goal_of(**fields: Any) -> Goal:
    return goals.goal(SMOL, job(**fields))


def left(goal: Goal) -> int:
    assert goal.layout is not None
    return widths.parameters(SMOL, goal.layout)


def test_targets_of_all_parameters_count_embeddings_and_norms() -> None:
    assert abs(left(goal_of(target={"type": "parameters", "parameters": 90_000_000})) - 90_000_000) <= STEP / 2
    by_ratio = left(goal_of(target={"type": "parameter_ratio", "ratio": 0.3}))
    assert abs(by_ratio - 0.7 * SMOL.parameters) <= STEP / 2


@given(shape=st.sampled_from([SMOL, BIASED]), part=st.floats(0.5, 0.95), multiple=st.sampled_from([1, 4, 64]))
def test_bytes_are_never_exceeded_and_nearly_used(shape: ModelShape, part: float, multiple: int) -> None:
    size = int(part * 2 * shape.parameters)
    asked = job({"dtype": "float16"}, target={"type": "bytes", "bytes": size}, round_ffn_to=multiple)
    layout = goals.goal(shape, asked).layout
    assert layout is not None
    step, biases = multiple * shape.layers * shape.ffn_channel_cost, shape.layers * shape.hidden
    assert 0 <= size - 2 * widths.stored_parameters(shape, layout) <= 2 * (step + biases) + 80_000


def test_protected_layers_stay_whole_and_the_others_make_up_for_them() -> None:
    goal = goal_of(ratio=0.4, budget={"allocation": "protected"})
    assert goal.layout is not None
    whole = widths.full(SMOL)
    assert [place for place, layer in enumerate(goal.layout) if layer == whole] == [0, 1, 2, 29]
    assert len(set(goal.layout)) == 2
    assert abs(goal.removed - 0.4 * SMOL.block_parameters) <= STEP / 2


def test_a_refusal_counts_in_the_whole_model_whichever_layers_give() -> None:
    heads: dict[str, Any] = {"scope": ["attention_heads"]}
    with pytest.raises(errors.TargetUnreachable, match=r"Removing 0\.0300 .* from the 26 layers that give ") as refused:
        goal_of(ratio=0.03, budget={"allocation": "protected"}, **heads)
    nearest = widths.lost(SMOL, widths.Widths(2, SMOL.ffn)) * 26 / SMOL.block_parameters
    assert f"{nearest:.4f}" in refused.value.hint
    with pytest.raises(errors.TargetUnreachable, match=r"Removing 0\.2000 .* from the 25 layers that give "):
        goal_of(ratio=0.2, layers_to_remove=5, **heads)


def test_whole_layers_count_towards_the_ratio() -> None:
    goal = goal_of(ratio=0.3, layers_to_remove=5)
    assert goal.layout is not None
    assert len(goal.layout) == goal.layers == 25
    assert abs(goal.removed - 0.3 * SMOL.block_parameters) <= STEP / 2
    planned = outline(SMOL, goal)
    assert (planned.layers, planned.layers_removed) == (25, 5)
    assert planned.parameters.after == left(goal) == SMOL.parameters - goal.removed - 5 * 2 * SMOL.hidden


def test_layers_alone_may_be_enough() -> None:
    goal = goal_of(ratio=5 / 30, layers_to_remove=5)
    assert goal.layout == (widths.full(SMOL),) * 25


@pytest.mark.parametrize("allocation", ["adaptive", "global"])
def test_what_only_scores_can_tell_is_known_as_a_count(allocation: str) -> None:
    goal = goal_of(ratio=0.4, budget={"allocation": allocation, "min_fraction": 0.25})
    assert goal.layout is None
    assert goal.removed == round(0.4 * SMOL.block_parameters)
    assert goal.floor == Widths(1, 384)
    planned = outline(SMOL, goal)
    assert not planned.widths_known
    assert planned.parameters.after == SMOL.parameters - goal.removed
    assert planned.stored_parameters == SMOL.parameters


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_devices_share_the_widths_evenly(devices: int) -> None:
    goal = goal_of(ratio=0.3, budget={"tensor_parallel": devices}, scope=["mlp_channels", "attention_heads"])
    assert goal.layout is not None
    (kept,) = set(goal.layout)
    assert kept.kv_groups * SMOL.group % devices == kept.ffn % devices == 0
    assert kept.kv_groups % devices == 0 or devices % kept.kv_groups == 0


def test_what_devices_cannot_share_is_refused_in_these_words() -> None:
    protected = {"allocation": "protected", "tensor_parallel": 2}
    with pytest.raises(errors.TargetUnreachable, match=r"9 heads \(3 KV heads\) and 1536 .* split over 2 devices"):
        goal_of(ratio=0.3, budget=protected)
    assert goal_of(ratio=0.3, budget=protected | {"tensor_parallel": 3}).layout
    with pytest.raises(errors.TargetUnreachable, match="2 devices can share evenly") as refused:
        goal_of(ratio=0.3, budget={"tensor_parallel": 2}, scope=["mlp_channels"])
    assert "a smaller tensor_parallel" in refused.value.hint


IMPOSSIBLE: dict[str, tuple[dict[str, Any], type[errors.PlanError]]] = {
    "no layer that gives": ({"ratio": 0.3, "layers_to_remove": 29}, errors.LayerWithoutUnits),
    "ffn below one multiple": ({"ratio": 0.85, "scope": ["mlp_channels"]}, errors.LayerWithoutUnits),
    "below the floor": (
        {"ratio": 0.6, "budget": {"allocation": "global", "min_fraction": 0.6}},
        errors.LayerWithoutUnits,
    ),
    "layers hold more than asked": ({"ratio": 0.3, "layers_to_remove": 15}, errors.TargetUnreachable),
    "more than there is": ({"target": {"type": "parameters", "parameters": 2 * 10**8}}, errors.TargetUnreachable),
    "less than the embeddings": (
        {"target": {"type": "parameters", "parameters": 10**7}},
        errors.TargetUnreachable,
    ),
}


@pytest.mark.parametrize(("method", "expected"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_what_cannot_be_is_refused_by_name_with_what_to_do(
    method: dict[str, Any], expected: type[errors.PlanError]
) -> None:
    with pytest.raises(errors.PlanError) as refused:
        goal_of(**method)
    assert type(refused.value) is expected
    assert refused.value.hint


def test_a_sharded_job_is_said_to_need_its_part_of_a_machine_with_several_devices() -> None:
    large = replace(BIASED, layers=80, hidden=8192, ffn=28672, heads=64, kv_heads=8, dtype="bfloat16")
    whole, parts, few = (
        forecast(large, job(ratio=0.5, train=train, reconstruction={"tokens_per_channel": 8})).memory
        for train in ({}, {"shard_base": True}, {"shard_base": True, "batch_size": 6})
    )
    assert whole is not None
    assert parts is not None
    assert few is not None
    assert parts < 80e9 < few < whole
    assert few - parts > 1.9 * large.block_parameters * (1 / 6 - 1 / 8)


CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "neither": {},
    "both": {"ratio": 0.3, "target": {"type": "parameters", "parameters": 5}},
    "bytes that padding would not save": {
        "target": {"type": "bytes", "bytes": 5},
        "budget": {"allocation": "global"},
        "output": {"dtype": "float16"},
    },
    "bytes of no dtype": {"target": {"type": "bytes", "bytes": 5}},
    "layers taken back": {"target": {"type": "perplexity", "increase": 0.1}, "layers_to_remove": 1},
    "cuts that nobody measures": {
        "target": {"type": "perplexity", "increase": 0.1},
        "schedule": {"prune_every_steps": 10, "cut": "last_event"},
    },
    "measured on weights that are not the model's": {
        "target": {"type": "perplexity", "increase": 0.1},
        "schedule": {"prune_every_steps": 10, "cooldown_fraction": 0.5},
        "train": {"base_precision": "int8"},
    },
    "a part of a model taken back": {
        "target": {"type": "perplexity", "increase": 0.1},
        "schedule": {"prune_every_steps": 10, "cooldown_fraction": 0.5},
        "train": {"shard_base": True},
    },
    "few bits in parts": {"ratio": 0.3, "train": {"shard_base": True, "base_precision": "nf4"}},
    "one size to choose from": {"target": {"type": "perplexity", "increase": 0.1}},
    "devices before widths": {"ratio": 0.3, "budget": {"allocation": "adaptive", "tensor_parallel": 2}},
}


@pytest.mark.parametrize("fields", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradictions_are_refused_before_any_model_is_read(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        job(**fields)
