"""Layers share what goes: to one quantum, within their floors, the least important first, never giving back."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs import goals, widths
from jobs.shapes import ModelShape
from jobs.specs import LoraPruneSpec
from jobs.widths import Layout, Widths
from worker.engine import allocation
from worker.engine.allocation import Room
from worker.engine.architectures import Kind
from worker.engine.plan import Scores

SHAPE = ModelShape(
    family="llama", layers=5, hidden=16, heads=8, kv_heads=4, head_dim=4, ffn=50, vocab=32, max_positions=8,
    norms=32, outside=1040,
)  # fmt: skip
GROUPED = ModelShape(
    family="llama", layers=30, hidden=576, heads=9, kv_heads=3, head_dim=64, ffn=1536, vocab=49152,
    max_positions=8192, norms=2 * 576, outside=49152 * 576 + 576, tied=True,
)  # fmt: skip
SHAPES = [SHAPE, GROUPED, replace(GROUPED, kv_heads=9)]
MULTIPLE = 8
FLOOR = Widths(1, MULTIPLE)
QUANTUM = MULTIPLE * SHAPE.ffn_channel_cost
MOST = SHAPE.layers * widths.lost(SHAPE, FLOOR)
SCOPES = [["attention_heads", "mlp_channels"], ["attention_heads"], ["mlp_channels"]]


def room(present: Layout, heads_share: float = 1.0) -> Room:
    return Room(SHAPE, present, FLOOR, MULTIPLE, heads_share)


def random_scores(layout: Layout, seed: int) -> Scores:
    generator = torch.Generator().manual_seed(seed)
    return {
        Kind.KV_GROUP: [torch.rand(layer.kv_groups, generator=generator) for layer in layout],
        Kind.FFN_CHANNEL: [torch.rand(layer.ffn, generator=generator) for layer in layout],
    }


def check(room: Room, before: Layout, after: Layout) -> None:
    for old, new in zip(before, after, strict=True):
        assert room.floor.kv_groups <= new.kv_groups <= old.kv_groups
        assert room.floor.ffn <= new.ffn <= old.ffn
        assert new.ffn in (old.ffn, room.shape.ffn) or new.ffn % room.ffn_multiple == 0


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1000),
    part=st.floats(0.05, 0.95),
    way=st.sampled_from(["score", "influence"]),
    heads_share=st.sampled_from([0.5, 1.0]),
    shape=st.sampled_from(SHAPES),
    scope=st.sampled_from(SCOPES),
    min_fraction=st.sampled_from([0.0, 0.5, 0.6]),
)
@example(seed=298, part=0.15625, way="influence", heads_share=1.0, shape=SHAPE, scope=SCOPES[0], min_fraction=0.0)
@example(seed=0, part=0.9, way="influence", heads_share=0.5, shape=SHAPES[2], scope=SCOPES[0], min_fraction=0.5)
def test_every_event_meets_its_part_and_only_narrows(
    seed: int, part: float, way: str, heads_share: float, shape: ModelShape, scope: list[str], min_fraction: float
) -> None:
    method = LoraPruneSpec.model_validate(
        {
            "type": "lora_prune",
            "ratio": 0.5,
            "scope": scope,
            "round_ffn_to": MULTIPLE,
            "budget": {"min_fraction": min_fraction},
        }
    )
    floor = goals.floor(shape, method)
    most = shape.layers * widths.lost(shape, floor)
    layout = widths.dense(shape)
    influence = torch.rand(shape.layers, generator=torch.Generator().manual_seed(seed)).tolist()
    for fraction in (0.3, 0.7, 1.0):
        wanted = round(fraction * part * most)
        before = layout
        room = Room(shape, before, floor, MULTIPLE, heads_share)
        if way == "score":
            layout = allocation.by_score(room, random_scores(before, seed), wanted, per_parameter=True)
        else:
            layout = allocation.by_influence(room, influence, wanted, amplitude=0.5)
        check(room, before, layout)
        assert abs(widths.removed(shape, layout) - wanted) <= room.finest(layout)


def test_the_least_worth_per_parameter_goes_wherever_it_stands() -> None:
    dense = widths.dense(SHAPE)
    scores: Scores = {
        Kind.KV_GROUP: [torch.full((4,), 1000.0) for _ in dense],
        Kind.FFN_CHANNEL: [torch.full((50,), 1.0 + place) for place in range(len(dense))],
    }
    scores[Kind.KV_GROUP][3][2] = 1e-3
    wanted = SHAPE.kv_group_cost + 42 * SHAPE.ffn_channel_cost
    after = allocation.by_score(room(dense), scores, wanted, per_parameter=True)
    assert after == (Widths(4, 8), Widths(4, 50), Widths(4, 50), Widths(3, 50), Widths(4, 50))


def test_what_a_unit_costs_decides_only_where_scores_are_sums() -> None:
    dense = widths.dense(SHAPE)
    scores: Scores = {
        Kind.KV_GROUP: [torch.full((4,), 3.0) for _ in dense],
        Kind.FFN_CHANNEL: [torch.full((50,), 2.0) for _ in dense],
    }
    wanted = 3 * SHAPE.kv_group_cost
    by_cost = allocation.by_score(room(dense), scores, wanted, per_parameter=True)
    as_they_are = allocation.by_score(room(dense), scores, wanted, per_parameter=False)
    assert sum(layer.kv_groups for layer in by_cost) == 20 - 3
    assert sum(layer.kv_groups for layer in as_they_are) == 20


@pytest.mark.parametrize("amplitude", [0.0, 0.5, 1.0])
def test_layers_that_change_their_input_less_give_more(amplitude: float) -> None:
    influence = [0.9, 0.1, 0.2, 0.3, 0.5]
    after = allocation.by_influence(room(widths.dense(SHAPE)), influence, round(0.4 * MOST), amplitude=amplitude)
    lost = [widths.lost(SHAPE, layer) for _, layer in sorted(zip(influence, after, strict=True), key=lambda x: x[0])]
    if amplitude == 0:
        assert max(lost) - min(lost) <= QUANTUM
    else:
        assert all(one >= other - QUANTUM for one, other in itertools.pairwise(lost))
        assert lost[0] > lost[-1]
