"""Layers of different widths in one stock configuration: narrow ones are padded with zeros to the widest.

Exact: a padded FFN channel is act(0)·0 = 0, and a padded head meets zero columns of the output projection. It saves
nothing on disk or at run time.
"""

from torch import Tensor
from torch.nn import functional

from jobs.shapes import ModelShape
from worker.engine.architectures import Family, Kind
from worker.engine.plan import Plan


def padded(state: dict[str, Tensor], family: Family, shape: ModelShape, plan: Plan) -> dict[str, Tensor]:
    """The state dict of a model cut to `plan`, each layer as wide as the widest; tensors that fit are not copied.

    Zeros go behind the units that stay, whole units at a time, so that query heads still stand beside their KV head.
    """
    padded_state = dict(state)
    widest = {kind: max(len(layer.kept(kind)) for layer in plan.layers) for kind in Kind}
    for place, layer in enumerate(plan.layers):
        for member in family.members:
            missing = member.channels(shape) * (widest[member.kind] - len(layer.kept(member.kind)))
            for name, axis in (("weight", member.axis), ("bias", 0)):
                key = f"{family.blocks}.{place}.{member.path}.{name}"
                if missing and key in state and axis == member.axis:
                    padded_state[key] = _pad(state[key], axis, missing)
    return padded_state


def _pad(tensor: Tensor, axis: int, missing: int) -> Tensor:
    after_last_axis = (0, 0) * (tensor.dim() - 1 - axis)
    return functional.pad(tensor, (*after_last_axis, 0, missing))
