"""What is kept: plain data that can be printed, stored and replayed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from jobs import errors, widths
from jobs.shapes import ModelShape
from jobs.widths import Layout, Widths
from worker.engine.architectures import Kind


@dataclass(frozen=True)
class LayerPlan:
    """The units that one layer keeps, ascending; `index` is its place in the untouched model."""

    index: int
    kv_groups: tuple[int, ...]
    ffn_channels: tuple[int, ...]

    @property
    def widths(self) -> Widths:
        """How many units of each kind."""
        return Widths(len(self.kv_groups), len(self.ffn_channels))

    def kept(self, kind: Kind) -> tuple[int, ...]:
        """The kept units of one kind."""
        match kind:
            case Kind.KV_GROUP:
                return self.kv_groups
            case Kind.FFN_CHANNEL:
                return self.ffn_channels


@dataclass(frozen=True)
class Plan:
    """The layers that stay, ascending, with the units that each keeps."""

    layers: tuple[LayerPlan, ...]

    @classmethod
    def dense(cls, shape: ModelShape) -> Self:
        """The plan that removes nothing."""
        units = tuple(range(shape.kv_heads)), tuple(range(shape.ffn))
        return cls(tuple(LayerPlan(index, *units) for index in range(shape.layers)))

    @property
    def layout(self) -> Layout:
        """How many units each layer keeps."""
        return tuple(layer.widths for layer in self.layers)

    def removed(self, shape: ModelShape) -> int:
        """Block parameters that the model loses."""
        return widths.removed(shape, self.layout)

    def to_json(self) -> list[dict[str, Any]]:
        """One object per layer that stays."""
        return [
            {"index": layer.index, "kv_groups": list(layer.kv_groups), "ffn_channels": list(layer.ffn_channels)}
            for layer in self.layers
        ]

    @classmethod
    def from_json(cls, value: Sequence[Mapping[str, Any]]) -> Self:
        """The plan that `to_json` wrote."""
        return cls(
            tuple(
                LayerPlan(layer["index"], tuple(layer["kv_groups"]), tuple(layer["ffn_channels"])) for layer in value
            ),
        )


Scores = Mapping[Kind, Sequence[Tensor]]
"""Importance of the units still kept, by kind: one (kept units,) tensor per kept layer, in the plan's order; higher is
kept."""


def only_layers(of: Plan, like: Plan) -> Plan:
    """`of` without the layers that `like` does not have."""
    stay = {layer.index for layer in like.layers}
    return Plan(tuple(layer for layer in of.layers if layer.index in stay))


def restrict(scores: Scores, before: Plan, after: Plan) -> Scores:
    """The scores of the units of `before` without those that `after` has no longer."""
    places = {layer.index: place for place, layer in enumerate(before.layers)}

    def left(kind: Kind, layers: Sequence[Tensor], layer: LayerPlan) -> Tensor:
        place = places[layer.index]
        had, has = before.layers[place].kept(kind), layer.kept(kind)
        # Most often all are there: nothing is to be looked up, nor copied to a device.
        return layers[place] if len(has) == len(had) else layers[place][positions(had, has)]

    return {kind: [left(kind, layers, layer) for layer in after.layers] for kind, layers in scores.items()}


def narrow(current: Plan, scores: Scores, target: Layout) -> Plan:
    """Keep the highest-scored units of each layer, as many as `target` says.

    Equal scores keep the lower index, so that the same scores give the same plan.

    Raises:
        ScoreNotFinite: a score is NaN or infinite.
    """
    for kind, layers in scores.items():
        for layer, score_U in zip(current.layers, layers, strict=True):
            if not bool(score_U.isfinite().all()):
                raise errors.ScoreNotFinite(
                    f"The importance of {kind} in layer {layer.index} is NaN or infinite.",
                    hint="Lower the learning rate, or train in float32.",
                )
    return Plan(
        tuple(
            LayerPlan(
                layer.index,
                _best(layer.kv_groups, scores, Kind.KV_GROUP, place, kept.kv_groups),
                _best(layer.ffn_channels, scores, Kind.FFN_CHANNEL, place, kept.ffn),
            )
            for place, (layer, kept) in enumerate(zip(current.layers, target, strict=True))
        )
    )


def _best(kept: tuple[int, ...], scores: Scores, kind: Kind, place: int, count: int) -> tuple[int, ...]:
    if count == len(kept):  # also where a family has no such units to score
        return kept
    score_U = scores[kind][place]
    ranked = sorted(zip(score_U.tolist(), kept, strict=True), key=lambda scored: (-scored[0], scored[1]))
    return tuple(sorted(unit for _, unit in ranked[:count]))


def positions(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Where the units of `after` stand among those of `before`."""
    places = {unit: place for place, unit in enumerate(before)}
    return [places[unit] for unit in after]
