"""What a plan must come to: the target of a request in parameters of one model, and the widths as far as they are known
before anything is scored."""

import math
from dataclasses import dataclass, replace
from typing import assert_never

from jobs import errors, widths
from jobs.budgets import ParameterCount, ParameterRatio, PerplexityLimit, WeightBytes
from jobs.shapes import ModelShape
from jobs.specs import ITEM_BYTES, JobSpec, LoraPruneSpec
from jobs.widths import Layout, Rules, Widths

HEADER_BYTES = 128
"""What the name, dtype, shape and place of a tensor take in a safetensors header, at the very most."""


@dataclass(frozen=True)
class Goal:
    """Where the last cut must end.

    `removed` are block parameters, those of the layers that go among them; `layout` is None where only scores can
    tell how the layers share them: then no layer falls below `floor`.
    """

    layers: int
    removed: int
    layout: Layout | None
    floor: Widths

    def ratio(self, shape: ModelShape) -> float:
        """Part of the block parameters that goes."""
        return self.removed / shape.block_parameters

    def words(self, shape: ModelShape) -> str:
        """What stays, as a log line begins."""
        layers = "Every layer" if self.layers == shape.layers else f"Each of {self.layers} of {shape.layers} layers"
        kept = set(self.layout or ())
        if len(kept) != 1:
            return f"{layers} keeps its own number of KV groups and FFN channels"
        (width,) = kept
        ffn = f"{width.ffn} of {shape.ffn} FFN channels"
        return f"{layers} keeps {width.kv_groups} of {shape.kv_heads} KV groups and {ffn}"


def goal(shape: ModelShape, spec: JobSpec) -> Goal:
    """What the job must come to with a model of this shape.

    Raises:
        TargetUnreachable: nothing comes near enough; the message names what can be had.
        LayerWithoutUnits: a layer would be left with nothing.
    """
    method = spec.method
    left = replace(shape, layers=shape.layers - method.layers_to_remove)
    if left.layers < 2:
        raise errors.LayerWithoutUnits(
            f"Removing {method.layers_to_remove} of {shape.layers} layers leaves less than the first and the last.",
            hint=f"Remove at most {max(0, shape.layers - 2)} layers.",
        )
    least = floor(shape, method)
    asked = wanted(shape, spec)
    rest = asked - (shape.block_parameters - left.block_parameters)
    rules = Rules(
        scope=method.scope,
        round_ffn_to=method.ffn_multiple,
        floor=least,
        tensor_parallel=method.budget.tensor_parallel,
        heads_share=method.budget.heads_share,
        at_least=isinstance(method.target, WeightBytes),
        all_may_stay=method.layers_to_remove > 0,
        whole=shape.block_parameters,
        elsewhere=shape.block_parameters - left.block_parameters,
    )
    layout = _layout(left, rest, method, rules)
    removed = round(asked) if layout is None else widths.removed(shape, layout)
    return Goal(left.layers, removed, layout, least)


def wanted(shape: ModelShape, spec: JobSpec) -> float:
    """Block parameters to remove, as asked and before any rounding."""
    method = spec.method
    norms_that_go = shape.parameters - shape.block_parameters
    fewer = replace(shape, layers=shape.layers - method.layers_to_remove)
    norms_that_go -= fewer.parameters - fewer.block_parameters
    match method.target:
        case None:
            assert method.ratio is not None
            return method.ratio * shape.block_parameters
        case PerplexityLimit(largest_ratio=ratio):
            return ratio * shape.block_parameters
        case ParameterRatio(ratio=ratio):
            gone = ratio * shape.parameters
        case ParameterCount(parameters=count):
            gone = shape.parameters - count
        case WeightBytes(bytes=size):
            assert spec.output.dtype != "auto"
            gone = shape.parameters + _largest_padding(fewer) - (size - _header(fewer)) / ITEM_BYTES[spec.output.dtype]
        case _:
            assert_never(method.target)
    return _within(shape, gone - norms_that_go)


def _largest_padding(shape: ModelShape) -> int:
    """What a host may want beside what is left, whichever heads stay."""
    return shape.layers * max(shape.host_padding(groups * shape.group) for groups in range(1, shape.kv_heads + 1))


def _header(shape: ModelShape) -> int:
    """Bytes of the safetensors headers: at most a dozen tensors per layer, and a few around them."""
    return HEADER_BYTES * (16 * shape.layers + 8)


def _within(shape: ModelShape, removed: float) -> float:
    """Raises TargetUnreachable for less than nothing, or more than there is."""
    if removed <= 0 or removed >= shape.block_parameters:
        outside = shape.parameters - shape.block_parameters
        raise errors.TargetUnreachable(
            f"Of {shape.parameters:,} parameters {shape.block_parameters:,} are in the linear layers of blocks and can "
            f"go; what is asked would take {removed:,.0f} of them.",
            hint=f"Ask for between {outside:,} and {shape.parameters:,} parameters to stay.",
        )
    return removed


def floor(shape: ModelShape, method: LoraPruneSpec) -> Widths:
    """What every layer keeps at least: one KV group, one multiple of FFN channels, and the part asked for."""
    part = method.budget.min_fraction
    multiple = method.ffn_multiple
    kept = Widths(
        max(1, math.ceil(part * shape.kv_heads)) if "attention_heads" in method.scope else shape.kv_heads,
        max(multiple, multiple * math.ceil(part * shape.ffn / multiple))
        if "mlp_channels" in method.scope
        else shape.ffn,
    )
    return Widths(kept.kv_groups, min(shape.ffn, kept.ffn))


def _layout(left: ModelShape, rest: float, method: LoraPruneSpec, rules: Rules) -> Layout | None:
    """The widths that remove `rest` of the layers that are left, where they follow from the shape alone."""
    match method.budget.allocation:
        case "uniform":
            return widths.alike(left, _share(left, rest, rules))
        case "protected":
            first = max(1, left.layers // 10)
            inner = replace(left, layers=left.layers - first - 1)
            if inner.layers < 1:
                raise errors.LayerWithoutUnits(
                    f"The first {first} and the last of {left.layers} layers stay whole, so that none can give.",
                    hint="Ask for another allocation, or remove fewer layers.",
                )
            shared = _share(inner, rest, rules)
            untouched = widths.full(left)
            if not rules.split(left, untouched):
                raise errors.TargetUnreachable(
                    f"The first {first} and the last layer stay whole, and their {left.heads} heads ({left.kv_heads} "
                    f"KV heads) and {left.ffn} FFN channels cannot be split over {rules.tensor_parallel} devices.",
                    hint="Ask for the allocation uniform, or for a tensor_parallel that divides them.",
                )
            return (untouched,) * first + (shared,) * inner.layers + (untouched,)
        case "adaptive" | "global":
            most = left.layers * widths.lost(left, rules.floor)
            if not 0 < rest <= most:
                raise _beyond(left, rest, most)
            return None
        case _:
            assert_never(method.budget.allocation)


def _share(left: ModelShape, rest: float, rules: Rules) -> Widths:
    most = left.layers * widths.lost(left, rules.floor)
    by_ffn = "mlp_channels" in rules.scope
    step = left.layers * (rules.round_ffn_to * left.ffn_channel_cost if by_ffn else left.kv_group_cost)
    if not -step / 2 <= rest <= most + step / 2:
        raise _beyond(left, rest, most)
    return widths.uniform(left, rest / left.block_parameters, rules)


def _beyond(left: ModelShape, rest: float, most: int) -> errors.PlanError:
    if rest <= 0:
        return errors.TargetUnreachable(
            "The layers to remove hold more than is asked to go.", hint="Remove fewer layers, or ask for more."
        )
    return errors.LayerWithoutUnits(
        f"The {left.layers} layers that give would have to lose {rest:,.0f} parameters, and can lose {most:,}: each "
        "keeps one KV group and one multiple of FFN channels at least.",
        hint=f"Ask for {rest - most:,.0f} parameters less to go, for a smaller round_ffn_to or min_fraction, a wider "
        "scope, or for whole layers to go.",
    )
