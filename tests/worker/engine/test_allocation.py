"""Layers share what goes: to one quantum, within their floors, the least important first, never giving back."""

import itertools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs import widths
from jobs.shapes import ModelShape
from jobs.widths import Layout, Widths
from worker.engine import allocation
from worker.engine.allocation import Room
from worker.engine.architectures import Kind
from worker.engine.plan import Scores

SHAPE = ModelShape(
    family="llama", layers=5, hidden=16, heads=8, kv_heads=4, head_dim=4, ffn=50, vocab=32, max_positions=8,
    norms=32, outside=1040,
)  # fmt: skip
MULTIPLE = 8
FLOOR = Widths(1, MULTIPLE)
QUANTUM = MULTIPLE * SHAPE.ffn_channel_cost
MOST = SHAPE.layers * widths.lost(SHAPE, FLOOR)


def room(present: Layout, heads_share: float = 1.0) -> Room:
    return Room(SHAPE, present, FLOOR, MULTIPLE, heads_share)


def random_scores(layout: Layout, seed: int) -> Scores:
    generator = torch.Generator().manual_seed(seed)
    return {
        Kind.KV_GROUP: [torch.rand(layer.kv_groups, generator=generator) for layer in layout],
        Kind.FFN_CHANNEL: [torch.rand(layer.ffn, generator=generator) for layer in layout],
    }


def check(before: Layout, after: Layout) -> None:
    for old, new in zip(before, after, strict=True):
        assert FLOOR.kv_groups <= new.kv_groups <= old.kv_groups
        assert FLOOR.ffn <= new.ffn <= old.ffn
        assert new.ffn in (old.ffn, SHAPE.ffn) or new.ffn % MULTIPLE == 0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    part=st.floats(0.05, 0.95),
    way=st.sampled_from(["score", "influence"]),
    heads_share=st.sampled_from([0.5, 1.0]),
)
@example(seed=298, part=0.15625, way="influence", heads_share=1.0)
def test_every_event_meets_its_part_and_only_narrows(seed: int, part: float, way: str, heads_share: float) -> None:
    layout = widths.dense(SHAPE)
    influence = torch.rand(SHAPE.layers, generator=torch.Generator().manual_seed(seed)).tolist()
    for fraction in (0.3, 0.7, 1.0):
        wanted = round(fraction * part * MOST)
        before = layout
        if way == "score":
            layout = allocation.by_score(room(before), random_scores(before, seed), wanted, per_parameter=True)
        else:
            layout = allocation.by_influence(room(before, heads_share), influence, wanted, amplitude=0.5)
        check(before, layout)
        apart = abs(widths.removed(SHAPE, layout) - wanted)
        channels_left = any(layer.ffn > MULTIPLE for layer in layout)
        assert apart <= (QUANTUM if channels_left else SHAPE.kv_group_cost)


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
