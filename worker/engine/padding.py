"""Layers of different widths in one stock configuration: narrow ones are padded with zeros to the widest.

Exact: a padded FFN channel is act(0)·0 = 0, and a padded head meets zero columns of the output projection. It saves
nothing on disk or at run time.
"""

import torch
from torch import Tensor

from jobs import widths
from jobs.shapes import ModelShape
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
