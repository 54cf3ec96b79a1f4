"""Layers of different widths in one stock configuration: narrow ones are padded with zeros to the widest.

Exact: a padded FFN channel is act(0)·0 = 0, and a padded head meets zero columns of the output projection. It saves
nothing on disk or at run time; what can hold each layer at its own widths gets the zeros taken off again.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from jobs import errors, widths
from jobs.shapes import ModelShape
from jobs.widths import Layout, Widths
from worker.engine.architectures import Family, Kind
from worker.engine.plan import Plan


def padded(state: dict[str, Tensor], family: Family, shape: ModelShape, plan: Plan) -> dict[str, Tensor]:
    """The state dict of a model cut to `plan`, each layer as wide as the widest; tensors that fit are not copied.

    Zeros go behind the units that stay, whole units at a time, so that query heads still stand beside their KV head.
    """
    padded_state = dict(state)
    stored = widths.stored(shape, plan.layout)
    widest = {Kind.KV_GROUP: stored.kv_groups, Kind.FFN_CHANNEL: stored.ffn}
    for place, layer in enumerate(plan.layers):
        for member in family.members:
            count = len(layer.kept(member.kind))
            if count == widest[member.kind]:
                continue
            size = widest[member.kind] * member.channels(shape)
            places = torch.tensor(member.places(shape, widest[member.kind], range(count)))
            axis = 1 - member.axis if family.transposed else member.axis
            for name, stored_axis in (("weight", axis), ("bias", 0)):
                key = f"{family.blocks}.{place}.{member.path}.{name}"
                if key in state and (name == "weight" or member.axis == 0):
                    padded_state[key] = _spread(state[key], stored_axis, places, size)
    return padded_state


def _spread(tensor: Tensor, axis: int, places: Tensor, size: int) -> Tensor:
    """Among zeros, the slices of `tensor` at `places` of an axis that is `size` long."""
    whole = list(tensor.shape)
    whole[axis] = size
    return tensor.new_zeros(whole).index_copy_(axis, places.to(tensor.device), tensor)


def narrowed(name: str, tensor: Tensor, family: Family, stored: Widths, layout: Layout) -> Tensor:
    """A tensor of a padded state dict without its layer's zeros; of a family whose projections are not fused.

    Args:
        stored: what every layer of the state dict has.
    Raises:
        VerificationFailed: what would go is not zero.
    """
    layer, _, rest = name.removeprefix(f"{family.blocks}.").partition(".")
    path, _, part = rest.rpartition(".")
    member = next((member for member in family.members if member.path == path), None)
    if member is None or (part == "bias" and member.axis == 1):
        return tensor
    kept = layout[int(layer)]
    counts = {Kind.KV_GROUP: (kept.kv_groups, stored.kv_groups), Kind.FFN_CHANNEL: (kept.ffn, stored.ffn)}
    count, whole = counts[member.kind]
    size = tensor.shape[member.axis]
    left, gone = tensor.split([size * count // whole, size - size * count // whole], dim=member.axis)
    if bool(gone.any()):
        raise errors.VerificationFailed(f"{name} is to be cut to the width of its layer, and is not zero beyond it.")
    return left.contiguous()


def filled(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The tensor with zeros behind it on every axis, up to `shape`."""
    whole = tensor.new_zeros(tuple(shape))
    whole[tuple(slice(size) for size in tensor.shape)] = tensor
    return whole
