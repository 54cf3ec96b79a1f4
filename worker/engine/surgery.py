"""Cutting: from full weights and a plan to the weights of the smaller model."""

from collections.abc import Mapping

import torch
from torch import Tensor

from jobs.shapes import ModelShape
from worker.engine.architectures import Family, Member, units
from worker.engine.plan import LayerPlan, Plan, channels


def cut(state: Mapping[str, Tensor], plan: Plan, family: Family, shape: ModelShape) -> dict[str, Tensor]:
    """The state dict of a bare `...ForCausalLM` with the removed rows and columns taken out.

    Tensors that lose nothing are passed on as they are, not copied.
    """
    result = dict(state)
    for index, layer in enumerate(plan.layers):
        for member in family.members:
            if len(layer.kept(member.kind)) == units(shape, member.kind):
                continue
            prefix = f"{family.blocks}.{index}.{member.path}"
            keep = _channels(layer, member, shape, result[f"{prefix}.weight"].device)
            result[f"{prefix}.weight"] = result[f"{prefix}.weight"].index_select(member.axis, keep)
            if member.axis == 0 and f"{prefix}.bias" in result:
                result[f"{prefix}.bias"] = result[f"{prefix}.bias"].index_select(0, keep)
    return result


def _channels(layer: LayerPlan, member: Member, shape: ModelShape, device: torch.device) -> Tensor:
    return torch.tensor(channels(layer.kept(member.kind), member.channels(shape)), device=device)
