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


def widest(layout: Layout) -> Widths:
    """What the widest layer keeps of each kind: the widths of a stock configuration that holds them all."""
    return Widths(max(layer.kv_groups for layer in layout), max(layer.ffn for layer in layout))


def lost(shape: ModelShape, widths: Widths) -> int:
    """Parameters that one layer loses."""
    groups = (shape.kv_heads - widths.kv_groups) * shape.kv_group_cost
    return groups + (shape.ffn - widths.ffn) * shape.ffn_channel_cost


def removed(shape: ModelShape, layout: Layout) -> int:
    """Block parameters that the model loses, those of the layers that go among them."""
    whole = replace(shape, layers=len(layout)).block_parameters
    return shape.block_parameters - whole + sum(lost(shape, layer) for layer in layout)


def ratio(shape: ModelShape, layout: Layout) -> float:
    """Removed part of the block parameters."""
    return removed(shape, layout) / shape.block_parameters


def parameters(shape: ModelShape, layout: Layout) -> int:
    """All parameters that are left; what pads a narrow layer to the width of others does not count."""
    return replace(shape, layers=len(layout)).parameters - sum(lost(shape, layer) for layer in layout)


def stored_parameters(shape: ModelShape, layout: Layout) -> int:
    """All parameters of the stock model that holds the layout: narrow layers padded to the widest, and what its class
    wants beside (`ModelShape.host_padding`)."""
    most = widest(layout)
    return parameters(shape, (most,) * len(layout)) + len(layout) * shape.host_padding(most.kv_groups * shape.group)


def uniform(shape: ModelShape, target: float, *, scope: Collection[UnitKind], round_ffn_to: int) -> Widths:
    """The widths that, kept by every layer, come closest to removing `target` of the block parameters.

    KV groups go in proportion; FFN channels are the fine dial that then meets the target, in multiples of
    `round_ffn_to`. The answer is off by at most half a step of the finest dial, a step being `round_ffn_to` channels
    of every layer (or, without channels in scope, one KV group of every layer), and never by more than `MAX_DEVIATION`.

    Raises:
        TargetUnreachable: every choice is further off than that; the message names what can be had.
    """
    step = shape.layers * (round_ffn_to * shape.ffn_channel_cost if "mlp_channels" in scope else shape.kv_group_cost)
    wanted = target * shape.block_parameters
    tolerance = min(step / 2, MAX_DEVIATION * shape.block_parameters)
    nearest: list[Widths] = []
    for groups in _group_choices(shape, target, scope):
        rest = wanted - removed(shape, alike(shape, Widths(groups, shape.ffn)))
        choices = [Widths(groups, ffn) for ffn in _ffn_choices(shape, rest, scope, round_ffn_to)]
        options = [option for option in choices if option != full(shape)]
        if not options or not shape.holds(groups * shape.group):
            continue
        best = min(options, key=lambda option: abs(removed(shape, alike(shape, option)) - wanted))
        if abs(removed(shape, alike(shape, best)) - wanted) <= tolerance:
            return best
        nearest.append(best)
    raise _unreachable(shape, target, round_ffn_to, nearest)


def between(shape: ModelShape, final: Widths, fraction: float, *, round_ffn_to: int = 1) -> Widths:
    """A layer's widths after `fraction` (0 to 1) of the way from whole to `final`, the same part of every kind.

    FFN widths on the way lie whole multiples of `round_ffn_to` above the final one: hardware likes even widths.
    """
    steps = (1 - fraction) * (shape.ffn - final.ffn) / round_ffn_to
    return Widths(
        shape.kv_heads - _nearest(fraction * (shape.kv_heads - final.kv_groups)),
        min(shape.ffn, final.ffn + round_ffn_to * _nearest(steps)),
    )


def _group_choices(shape: ModelShape, target: float, scope: Collection[UnitKind]) -> list[int]:
    """KV groups to keep, the proportional number first."""
    if "attention_heads" not in scope:
        return [shape.kv_heads]
    proportional = shape.kv_heads * (1 - target)
    return sorted(range(1, shape.kv_heads + 1), key=lambda groups: (abs(groups - proportional), -groups))


def _ffn_choices(shape: ModelShape, wanted: float, scope: Collection[UnitKind], multiple: int) -> list[int]:
    """FFN channels to keep: the multiples next to what removes `wanted` parameters of the model, and all of them."""
    if "mlp_channels" not in scope:
        return [shape.ffn]
    exact = shape.ffn - wanted / (shape.layers * shape.ffn_channel_cost)
    largest = (shape.ffn - 1) // multiple
    below = min(max(math.floor(exact / multiple), 1), largest)
    kept = {multiple * steps for steps in (below, min(below + 1, largest)) if steps}
    return sorted(kept | {shape.ffn})


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)


def _unreachable(
    shape: ModelShape, target: float, round_ffn_to: int, options: list[Widths]
) -> errors.TargetUnreachable:
    wanted = target * shape.block_parameters
    layouts = [alike(shape, option) for option in options]
    near = sorted(layouts, key=lambda layout: abs(removed(shape, layout) - wanted))[:3]
    reachable = ", ".join(f"{ratio(shape, layout):.4f}" for layout in near) or "none"
    return errors.TargetUnreachable(
        f"Removing {target:.4f} of the block parameters is not possible with FFN widths in multiples of "
        f"{round_ffn_to} (this model has {shape.ffn} channels and {shape.kv_heads} KV groups per layer).",
        hint=f"Nearest reachable ratios: {reachable}. Or ask for a smaller round_ffn_to or a wider scope.",
    )
