"""How wide each block may stay, counted in real parameters."""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from jobs import errors
from jobs.shapes import ModelShape
from jobs.specs import UnitKind

MAX_DEVIATION = 0.02
"""Largest distance, as a part of the block parameters, between what is asked and what is planned."""


@dataclass(frozen=True)
class Widths:
    """What a layer keeps."""

    kv_groups: int
    ffn: int


Layout = tuple[Widths, ...]
"""What each of the layers that stay keeps, from the first to the last."""


def full(shape: ModelShape) -> Widths:
    """What an untouched layer has."""
    return Widths(shape.kv_heads, shape.ffn)


def dense(shape: ModelShape) -> Layout:
    """The untouched model."""
    return alike(shape, full(shape))


def alike(shape: ModelShape, widths: Widths) -> Layout:
    """Every layer of the model at the same widths."""
    return (widths,) * shape.layers


def stored(shape: ModelShape, layout: Layout) -> Widths:
    """The widths of a stock configuration that holds the layout: the widest layer's, and heads that load."""
    widest = max(layer.kv_groups for layer in layout)
    loading = (groups for groups in range(widest, shape.kv_heads) if shape.holds(groups * shape.group))
    return Widths(next(loading, shape.kv_heads), max(layer.ffn for layer in layout))


def lost(shape: ModelShape, widths: Widths) -> int:
    """Parameters that one layer loses."""
    groups = (shape.kv_heads - widths.kv_groups) * shape.kv_group_cost
    return groups + (shape.ffn - widths.ffn) * shape.ffn_channel_cost


def removed(shape: ModelShape, layout: Layout) -> int:
    """Block parameters that the model loses, those of the layers that go among them."""
    gone = (shape.layers - len(layout)) * shape.layer_cost
    return gone + sum(lost(shape, layer) for layer in layout)


def ratio(shape: ModelShape, layout: Layout) -> float:
    """Removed part of the block parameters."""
    return removed(shape, layout) / shape.block_parameters


def parameters(shape: ModelShape, layout: Layout) -> int:
    """All parameters that are left; what pads a narrow layer to the width of others does not count."""
    return replace(shape, layers=len(layout)).parameters - sum(lost(shape, layer) for layer in layout)


def stored_parameters(shape: ModelShape, layout: Layout) -> int:
    """All parameters of the stock model that holds the layout: narrow layers padded to the widest, and what its class
    wants beside (`ModelShape.host_padding`)."""
    most = stored(shape, layout)
    return parameters(shape, (most,) * len(layout)) + len(layout) * shape.host_padding(most.kv_groups * shape.group)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the widths of a layer must keep to, beside the target."""

    scope: Collection[UnitKind]
    round_ffn_to: int
    floor: Widths = Widths(1, 1)
    tensor_parallel: int = 1
    heads_share: float = 1.0
    at_least: bool = False  # remove what is asked or a little more, never less
    all_may_stay: bool = False  # where whole layers give too
    # What a refusal counts in, where these layers are not all of the model: its block parameters, and what else goes.
    whole: int | None = None
    elsewhere: int = 0

    def allow(self, shape: ModelShape, kept: Widths) -> bool:
        """Whether these widths keep to the rules, and stock classes and split devices can hold them."""
        above = kept.kv_groups >= self.floor.kv_groups and kept.ffn >= self.floor.ffn
        gives = self.all_may_stay or kept != full(shape)
        return self.split(shape, kept) and above and gives and shape.holds(kept.kv_groups * shape.group)

    def split(self, shape: ModelShape, kept: Widths) -> bool:
        """Whether the devices can share these widths evenly: query heads, FFN channels, and KV heads or copies."""
        groups, devices = kept.kv_groups, self.tensor_parallel
        shared = groups * shape.group % devices == 0 and kept.ffn % devices == 0
        return shared and (groups % devices == 0 or devices % groups == 0)


def uniform(shape: ModelShape, target: float, rules: Rules) -> Widths:
    """The widths that, kept by every layer, come closest to removing `target` of the block parameters.

    KV groups give their part (`groups_part`), as nearly as they can; FFN channels are the fine dial that then meets the
    target, in multiples of `round_ffn_to`. The answer is off by at most half a step of the finest dial, a step being
    `round_ffn_to` channels of every layer (or, without channels in scope, one KV group of every layer), and never by
    more than `MAX_DEVIATION`; where nothing less than the target will do, it is a whole step above at most.

    Raises:
        TargetUnreachable: every choice is further off than that; the message names what can be had.
    """
    dial = rules.round_ffn_to * shape.ffn_channel_cost if "mlp_channels" in rules.scope else shape.kv_group_cost
    step = shape.layers * dial
    wanted = target * shape.block_parameters
    tolerance = step if rules.at_least else min(step / 2, MAX_DEVIATION * shape.block_parameters)

    def deviation(option: Widths) -> float:
        return removed(shape, alike(shape, option)) - wanted

    nearest: list[Widths] = []
    for groups in _group_choices(shape, target, rules):
        rest = wanted - removed(shape, alike(shape, Widths(groups, shape.ffn)))
        choices = [Widths(groups, ffn) for ffn in _ffn_choices(shape, rest, rules)]
        options = [option for option in choices if rules.allow(shape, option)]
        enough = [option for option in options if deviation(option) >= 0] if rules.at_least else options
        best = min(enough or options, key=lambda option: abs(deviation(option)), default=None)
        if best is None:
            continue
        if best in enough and abs(deviation(best)) <= tolerance:
            return best
        nearest.append(best)
    raise _unreachable(shape, target, rules, nearest)


def between(shape: ModelShape, final: Widths, fraction: float, *, round_ffn_to: int = 1) -> Widths:
    """A layer's widths after `fraction` (0 to 1) of the way from whole to `final`, the same part of every kind.

    FFN widths on the way lie whole multiples of `round_ffn_to` above the final one: hardware likes even widths.
    """
    steps = (1 - fraction) * (shape.ffn - final.ffn) / round_ffn_to
    return Widths(
        shape.kv_heads - _nearest(fraction * (shape.kv_heads - final.kv_groups)),
        min(shape.ffn, final.ffn + round_ffn_to * _nearest(steps)),
    )


def groups_part(part: float, heads_share: float) -> float:
    """The part of its KV groups that a layer gives when it gives `part` of its parameters.

    While little goes it is `heads_share` times that part; the more goes the closer it comes to the part itself, so that
    neither kind is ever used up before the other.
    """
    return part * (heads_share + (1 - heads_share) * part)


def _group_choices(shape: ModelShape, target: float, rules: Rules) -> list[int]:
    """KV groups to keep, the number that is nearest to their share first."""
    if "attention_heads" not in rules.scope:
        return [shape.kv_heads]
    share = shape.kv_heads * (1 - groups_part(target, rules.heads_share))
    return sorted(range(1, shape.kv_heads + 1), key=lambda groups: (abs(groups - share), -groups))


def _ffn_choices(shape: ModelShape, wanted: float, rules: Rules) -> list[int]:
    """FFN channels to keep: the multiples next to what removes `wanted` parameters of the model, and all of them."""
    if "mlp_channels" not in rules.scope:
        return [shape.ffn]
    multiple = rules.round_ffn_to
    exact = shape.ffn - wanted / (shape.layers * shape.ffn_channel_cost)
    largest = (shape.ffn - 1) // multiple
    below = min(max(math.floor(exact / multiple), 1), largest)
    kept = {multiple * steps for steps in (below, min(below + 1, largest)) if steps}
    return sorted(kept | {shape.ffn})


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)


def _unreachable(shape: ModelShape, target: float, rules: Rules, options: list[Widths]) -> errors.TargetUnreachable:
    wanted, whole = target * shape.block_parameters, rules.whole or shape.block_parameters
    near = sorted((removed(shape, alike(shape, option)) for option in options), key=lambda count: abs(count - wanted))
    reachable = ", ".join(f"{(count + rules.elsewhere) / whole:.4f}" for count in near[:3]) or "none"
    giving = "" if whole == shape.block_parameters else f"from the {shape.layers} layers that give "
    return errors.TargetUnreachable(
        f"Removing {(wanted + rules.elsewhere) / whole:.4f} of the block parameters {giving}is not possible with FFN "
        f"widths in multiples of {rules.round_ffn_to}{_shared(rules)} "
        f"(a layer has {shape.ffn} channels, {shape.heads} heads and {shape.kv_heads} KV groups).",
        hint=f"Nearest reachable ratios: {reachable}. Or ask for a smaller round_ffn_to{_fewer(rules)} or a wider "
        "scope.",
    )


def _shared(rules: Rules) -> str:
    return f" that {rules.tensor_parallel} devices can share evenly" if rules.tensor_parallel > 1 else ""


def _fewer(rules: Rules) -> str:
    return ", a smaller tensor_parallel" if rules.tensor_parallel > 1 else ""
