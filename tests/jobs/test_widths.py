"""The uniform budget against counting the matrices one by one, for every small shape."""

import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jobs import errors, widths
from jobs.shapes import ModelShape
from jobs.specs import UnitKind
from jobs.widths import Rules, Widths

SCOPES: tuple[tuple[UnitKind, ...], ...] = (
    ("attention_heads", "mlp_channels"),
    ("attention_heads",),
    ("mlp_channels",),
)


@st.composite
def shapes(draw: st.DrawFn) -> ModelShape:
    kv_heads = draw(st.integers(1, 12))
    hidden, vocab, tied = draw(st.integers(1, 96)), draw(st.integers(1, 50)), draw(st.booleans())
    return ModelShape(
        family="llama",
        layers=draw(st.integers(1, 4)),
        hidden=hidden,
        heads=kv_heads * draw(st.integers(1, 4)),
        kv_heads=kv_heads,
        head_dim=draw(st.integers(1, 16)),
        ffn=draw(st.integers(1, 400)),
        vocab=vocab,
        max_positions=32,
        norms=2 * hidden,
        outside=vocab * hidden * (1 if tied else 2) + hidden,
        tied=tied,
        gated=draw(st.booleans()),
        qkv_bias=draw(st.booleans()),
        o_bias=draw(st.booleans()),
        up_bias=draw(st.booleans()),
        down_bias=draw(st.booleans()),
        head_counts=draw(st.sampled_from(["any", "divisors", "fixed"])),
    )


def removed(shape: ModelShape, kept: Widths) -> int:
    return widths.removed(shape, widths.alike(shape, kept))


def linear(rows: int, columns: int, bias: bool) -> int:
    return rows * columns + (rows if bias else 0)


def counted(shape: ModelShape, kept: Widths) -> int:
    """Parameters of all linear layers of the blocks, matrix by matrix."""
    queries, keys = kept.kv_groups * shape.group * shape.head_dim, kept.kv_groups * shape.head_dim
    return shape.layers * sum(
        (
            linear(queries, shape.hidden, shape.qkv_bias),
            linear(keys, shape.hidden, shape.qkv_bias) * 2,
            linear(shape.hidden, queries, shape.o_bias),
            linear(kept.ffn, shape.hidden, shape.up_bias) * (2 if shape.gated else 1),
            linear(shape.hidden, kept.ffn, shape.down_bias),
        )
    )


@given(shape=shapes(), data=st.data())
def test_what_a_plan_removes_is_what_the_matrices_lose(shape: ModelShape, data: st.DataObject) -> None:
    kept = Widths(data.draw(st.integers(1, shape.kv_heads)), data.draw(st.integers(1, shape.ffn)))
    assert shape.block_parameters == counted(shape, widths.full(shape))
    assert removed(shape, kept) == shape.block_parameters - counted(shape, kept)
    embeddings = shape.vocab * shape.hidden * (1 if shape.tied else 2)
    norms = (2 * shape.layers + 1) * shape.hidden
    assert shape.parameters == shape.block_parameters + embeddings + norms


@given(shape=shapes(), data=st.data())
def test_layers_may_differ_and_go(shape: ModelShape, data: st.DataObject) -> None:
    width = st.builds(Widths, st.integers(1, shape.kv_heads), st.integers(1, shape.ffn))
    layout = tuple(data.draw(st.lists(width, min_size=1, max_size=shape.layers)))
    left = sum(counted(shape, layer) // shape.layers for layer in layout)
    assert widths.removed(shape, layout) == shape.block_parameters - left
    norms_gone = 2 * (shape.layers - len(layout)) * shape.hidden
    assert widths.parameters(shape, layout) == shape.parameters - (shape.block_parameters - left) - norms_gone
    groups = max(layer.kv_groups for layer in layout)
    divides = {n: shape.hidden % (n * shape.group) == 0 for n in range(groups, shape.kv_heads)}
    takes = {"any": divides.keys(), "divisors": [n for n in divides if divides[n]], "fixed": []}
    loading = takes[shape.head_counts]
    most = Widths(min(loading, default=shape.kv_heads), max(layer.ffn for layer in layout))
    hosted = shape.host_padding(most.kv_groups * shape.group)
    padded = len(layout) * (counted(shape, most) // shape.layers + hosted)
    assert widths.stored_parameters(shape, layout) - widths.parameters(shape, layout) == padded - left


@settings(deadline=None)
@given(
    shape=shapes(),
    target=st.floats(0.001, 0.899),
    scope=st.sampled_from(SCOPES),
    multiple=st.sampled_from([1, 2, 8, 64, 100]),
    heads_share=st.sampled_from([0, 0.5, 1]),
)
def test_a_plan_is_within_the_tolerance_or_there_is_none(
    shape: ModelShape, target: float, scope: tuple[UnitKind, ...], multiple: int, heads_share: float
) -> None:
    rules = Rules(scope=scope, round_ffn_to=multiple, heads_share=heads_share)
    step = shape.layers * (multiple * shape.ffn_channel_cost if "mlp_channels" in scope else shape.kv_group_cost)
    wanted = target * shape.block_parameters
    tolerance = min(step / 2, widths.MAX_DEVIATION * shape.block_parameters)
    allowed = [kept for kept in choices(shape, scope, multiple) if abs(removed(shape, kept) - wanted) <= tolerance]
    if not allowed:
        with pytest.raises(errors.TargetUnreachable, match=f"{target:.4f}"):
            widths.uniform(shape, target, rules)
        return
    kept = widths.uniform(shape, target, rules)
    assert kept in allowed
    # No other allowed choice takes heads closer to their share, and none of as many heads comes closer to the target.
    share = shape.kv_heads * (1 - target * (heads_share + (1 - heads_share) * target))
    assert abs(kept.kv_groups - share) == min(abs(other.kv_groups - share) for other in allowed)
    same_heads = [other for other in allowed if other.kv_groups == kept.kv_groups]
    distance = {other: abs(removed(shape, other) - wanted) for other in same_heads}
    assert distance[kept] == min(distance.values())


def choices(shape: ModelShape, scope: tuple[UnitKind, ...], multiple: int) -> list[Widths]:
    """Every plan that keeps to the scope and the rounding, removes something, and loads as a stock configuration."""
    groups = range(1, shape.kv_heads + 1) if "attention_heads" in scope else [shape.kv_heads]
    ffn = [width for width in range(1, shape.ffn) if width % multiple == 0] if "mlp_channels" in scope else []
    return [
        Widths(kept, width)
        for kept, width in itertools.product(groups, [*ffn, shape.ffn])
        if Widths(kept, width) != widths.full(shape) and _holds(shape, kept * shape.group)
    ]


def _holds(shape: ModelShape, heads: int) -> bool:
    if shape.head_counts == "fixed":
        return heads == shape.heads
    return shape.head_counts == "any" or shape.hidden % heads == 0


def test_heads_give_less_while_little_goes_and_catch_up() -> None:
    given_up = [widths.groups_part(part / 10, 0.5) for part in range(11)]
    assert given_up == pytest.approx([0, 0.055, 0.12, 0.195, 0.28, 0.375, 0.48, 0.595, 0.72, 0.855, 1])
    assert [widths.groups_part(part, 1.0) for part in (0.2, 0.5)] == [0.2, 0.5]


@given(shape=shapes(), data=st.data(), steps=st.integers(1, 40))
def test_the_way_to_the_plan_only_narrows_and_ends_exactly(shape: ModelShape, data: st.DataObject, steps: int) -> None:
    final = Widths(data.draw(st.integers(1, shape.kv_heads)), data.draw(st.integers(1, shape.ffn)))
    way = [widths.between(shape, final, step / steps) for step in range(steps + 1)]
    assert way[0] == widths.full(shape)
    assert way[-1] == final
    for before, after in itertools.pairwise(way):
        assert after.kv_groups <= before.kv_groups
        assert after.ffn <= before.ffn


@given(shape=shapes())
def test_the_ratio_is_of_the_block_parameters(shape: ModelShape) -> None:
    assert widths.ratio(shape, widths.dense(shape)) == 0
    assume(shape.kv_heads > 1)
    kept = Widths(shape.kv_heads - 1, shape.ffn)
    assert widths.ratio(shape, widths.alike(shape, kept)) == pytest.approx(
        removed(shape, kept) / shape.block_parameters
    )


def test_the_refusal_names_what_can_be_had() -> None:
    smol = ModelShape(
        family="llama", layers=30, hidden=576, heads=9, kv_heads=3, head_dim=64, ffn=1536, vocab=49152,
        max_positions=8192, norms=2 * 576, outside=49152 * 576 + 576, tied=True,
    )  # fmt: skip
    assert smol.parameters == 134_515_008  # as its model card has it
    kept = widths.uniform(smol, 0.3, Rules(scope=("attention_heads", "mlp_channels"), round_ffn_to=64))
    assert kept == Widths(kv_groups=2, ffn=1088)
    with pytest.raises(errors.TargetUnreachable) as refused:
        widths.uniform(smol, 0.5, Rules(scope=("attention_heads",), round_ffn_to=64))
    assert "0.1667" in refused.value.hint
