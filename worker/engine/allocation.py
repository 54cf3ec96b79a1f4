"""How many units each layer keeps where only scores, or what layers do, can tell.

What goes, goes in quanta: a KV group, or a multiple of FFN channels, the least important of its layer first.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jobs import widths
from jobs.shapes import ModelShape
from jobs.widths import Layout, Widths
from worker.engine.architectures import Kind
from worker.engine.plan import Scores


@dataclass(frozen=True)
class Room:
    """What layers have to give: no layer falls below `floor`, FFN widths are multiples of `ffn_multiple`."""

    shape: ModelShape
    present: Layout
    floor: Widths
    ffn_multiple: int
    heads_share: float = 1.0

    @property
    def whole(self) -> int:
        """Parameters of one untouched layer that units hold."""
        return self.shape.kv_heads * self.shape.kv_group_cost + self.shape.ffn * self.shape.ffn_channel_cost

    def lost(self, layout: Layout) -> int:
        """Parameters that the layers have lost of what they were made with."""
        return sum(widths.lost(self.shape, layer) for layer in layout)

    def next_ffn(self, ffn: int) -> int:
        """The next smaller FFN width."""
        return ffn - (ffn % self.ffn_multiple or self.ffn_multiple)

    def finest(self, layout: Layout) -> int:
        """Parameters of the least that can still go: FFN channels, or a KV group where no layer has channels to give.

        A target is met to half of it, or to the whole of it where there are only groups left to choose from.
        """
        gives_channels = any(layer.ffn > self.floor.ffn for layer in layout)
        return self.ffn_multiple * self.shape.ffn_channel_cost if gives_channels else self.shape.kv_group_cost


@dataclass(frozen=True, order=True)
class _Quantum:
    """Units that go together; those of one layer and kind stand in the order in which they can go."""

    worth: float
    place: int
    kind: Kind
    number: int
    units: int
    cost: int


def by_score(room: Room, scores: Scores, wanted: int, *, per_parameter: bool) -> Layout:
    """Take what is worth least, in whatever layer, until the layers have lost `wanted` parameters, to half a quantum.

    Args:
        scores: comparable across layers and kinds, by what a unit costs if `per_parameter`.
    """
    quanta = sorted(_quanta(room, scores, per_parameter=per_parameter))
    channels, groups = room.ffn_multiple * room.shape.ffn_channel_cost, room.shape.kv_group_cost
    finest = channels if any(quantum.kind is Kind.FFN_CHANNEL for quantum in quanta) else groups
    left = wanted - room.lost(room.present)
    layout = list(room.present)
    stopped: set[tuple[int, Kind]] = set()
    for quantum in quanta:
        lane = quantum.place, quantum.kind
        if lane in stopped or left < quantum.cost - min(quantum.cost, finest) / 2:
            stopped.add(lane)
            continue
        left -= quantum.cost
        layer = layout[quantum.place]
        match quantum.kind:
            case Kind.KV_GROUP:
                layout[quantum.place] = replace(layer, kv_groups=layer.kv_groups - quantum.units)
            case Kind.FFN_CHANNEL:
                layout[quantum.place] = replace(layer, ffn=layer.ffn - quantum.units)
    return tuple(layout)


def _quanta(room: Room, scores: Scores, *, per_parameter: bool) -> Iterator[_Quantum]:
    costs = {Kind.KV_GROUP: room.shape.kv_group_cost, Kind.FFN_CHANNEL: room.shape.ffn_channel_cost}
    for place, layer in enumerate(room.present):
        sizes = {
            Kind.KV_GROUP: [1] * (layer.kv_groups - room.floor.kv_groups),
            Kind.FFN_CHANNEL: list(_ffn_steps(room, layer.ffn)),
        }
        for kind, units in sizes.items():
            if not units:  # nothing of it may go; a family may not even score it
                continue
            ascending_U = torch.sort(scores[kind][place]).values.double()
            for number, part_U in enumerate(_pieces(ascending_U, units)):
                worth = float(part_U.mean()) / (costs[kind] if per_parameter else 1)
                yield _Quantum(worth, place, kind, number, len(part_U), len(part_U) * costs[kind])


def _ffn_steps(room: Room, ffn: int) -> Iterator[int]:
    while room.next_ffn(ffn) >= room.floor.ffn:
        yield ffn - room.next_ffn(ffn)
        ffn = room.next_ffn(ffn)


def _pieces(ascending_U: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    return ascending_U[: sum(sizes)].split(list(sizes)) if sizes else ()


def by_influence(room: Room, influence: Sequence[float], wanted: int, *, amplitude: float) -> Layout:
    """Have layers that change their input less give more, until they have lost `wanted` parameters, to half a quantum.

    A layer of the mean influence gives the mean part, the others up to `amplitude` more or less. Source: after
    Adapt-Pruner, arXiv:2502.03460, eq. 4-6, whose parts grow with every event by the same amplitude; here they stay in
    proportion, so that the end does not depend on how many events there are.
    """
    parts = _parts_to_lose(room, influence, wanted, amplitude)
    layout = tuple(_nearest(room, layer, part) for layer, part in zip(room.present, parts, strict=True))
    moves = [_with_channels, _with_groups]
    while moves:
        nearer = _moved(room, layout, parts, wanted, moves[0])
        if nearer is None:
            moves.pop(0)  # groups only where channels come no nearer
        else:
            layout = nearer
    return layout


def _parts_to_lose(room: Room, influence: Sequence[float], wanted: int, amplitude: float) -> list[float]:
    """The part of its units that each layer is to have lost: never less than it has, never more than it can."""
    values = torch.tensor(influence, dtype=torch.float64)
    centred = values - values.mean()
    shares = (1 - amplitude * centred / centred.abs().max().clamp_min(1e-30)).tolist()
    least = [widths.lost(room.shape, layer) / room.whole for layer in room.present]
    most = widths.lost(room.shape, room.floor) / room.whole

    def parts(scale: float) -> list[float]:
        return [min(max(scale * share, low), most) for share, low in zip(shares, least, strict=True)]

    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(parts(middle)) * room.whole < wanted else (low, middle)
    return parts(high)


def _nearest(room: Room, present: Widths, part: float) -> Widths:
    """The widths at which a layer has lost about `part`: KV groups give theirs, FFN channels make up the rest.

    Groups give more where all channels that may go are not enough, and no more than the part comes to beside the
    channels that are gone: those can add to it, but not come back.
    """
    shape = room.shape
    wanted = part * room.whole
    least = math.ceil((wanted - (shape.ffn - room.floor.ffn) * shape.ffn_channel_cost) / shape.kv_group_cost)
    most = int((wanted - (shape.ffn - present.ffn) * shape.ffn_channel_cost) / shape.kv_group_cost)
    gone = min(most, max(least, round(widths.groups_part(part, room.heads_share) * shape.kv_heads)))
    groups = min(present.kv_groups, max(room.floor.kv_groups, shape.kv_heads - gone))
    rest = wanted - (shape.kv_heads - groups) * shape.kv_group_cost
    ffn = present.ffn
    while room.next_ffn(ffn) >= room.floor.ffn and (shape.ffn - ffn) * shape.ffn_channel_cost < rest:
        ffn = room.next_ffn(ffn)
    return Widths(groups, ffn)


def _moved(
    room: Room, layout: Layout, parts: Sequence[float], wanted: int, move: Callable[[Room, Widths, bool], Widths]
) -> Layout | None:
    """One quantum more from the layer that is furthest behind its part, or given back to the one that is furthest
    ahead; None if no layer can, or none comes nearer by it."""
    over = room.lost(layout) - wanted
    ahead = [widths.lost(room.shape, layer) - part * room.whole for layer, part in zip(layout, parts, strict=True)]
    for place in sorted(range(len(layout)), key=lambda place: (-ahead[place] if over > 0 else ahead[place], place)):
        new, present = move(room, layout[place], over > 0), room.present[place]
        within = room.floor.kv_groups <= new.kv_groups <= present.kv_groups and room.floor.ffn <= new.ffn <= present.ffn
        if new != layout[place] and within:
            moved = (*layout[:place], new, *layout[place + 1 :])
            return moved if abs(room.lost(moved) - wanted) < abs(over) else None
    return None


def _with_channels(room: Room, layer: Widths, back: bool) -> Widths:
    """A multiple of FFN channels less, or given back."""
    larger = min(layer.ffn - layer.ffn % room.ffn_multiple + room.ffn_multiple, room.shape.ffn)
    return replace(layer, ffn=larger if back else room.next_ffn(layer.ffn))


def _with_groups(room: Room, layer: Widths, back: bool) -> Widths:
    """A KV group less, or given back."""
    return replace(layer, kv_groups=layer.kv_groups + (1 if back else -1))
