"""Cutting a model while it trains: removed rows and columns leave the frozen weights, the factors and the optimizer."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jobs.shapes import ModelShape
from worker.engine import adapters
from worker.engine.architectures import Family, Kind, Member
from worker.engine.plan import LayerPlan, Plan, only_layers, positions

RemoveUnits = Callable[[nn.Module, Family, ModelShape, LayerPlan, LayerPlan, Optimizer | None], None]
"""What is done to one block: `cut_block`, or `silence_block` where the cut is to come later."""


def cut(
    model: nn.Module, family: Family, shape: ModelShape, before: Plan, after: Plan, optimizer: Optimizer | None
) -> None:
    """Shrink an adapted model from one plan to a narrower one, in place.

    Equal to masking from then on: a removed unit contributes nothing and its weights get no gradient. Gradients and
    the optimizer's moments are cut alike, so that this may stand between a backward pass and its step.

    Args:
        model: the bare `...ForCausalLM` with adapters on every member.
        optimizer: the one that trains the adapters, if any.
    """
    left = drop_layers(model, family, before, after, optimizer)
    for block, old, new in zip(family.layers(model), left.layers, after.layers, strict=True):
        cut_block(block, family, shape, old, new, optimizer)


def silence(
    model: nn.Module, family: Family, shape: ModelShape, present: Plan, after: Plan, optimizer: Optimizer | None
) -> None:
    """As `cut`, but only whole layers leave: elsewhere the rows and columns of removed units become zero and stay.

    What is zero on all sides gets no gradient and adds nothing to any score, so that it needs no mask to remain so.

    Args:
        present: what the model physically has.
    """
    left = drop_layers(model, family, present, after, optimizer)
    for block, old, new in zip(family.layers(model), left.layers, after.layers, strict=True):
        silence_block(block, family, shape, old, new, optimizer)


def drop_layers(model: nn.Module, family: Family, before: Plan, after: Plan, optimizer: Optimizer | None) -> Plan:
    """Take out the blocks that `after` has no longer; `before` without them."""
    stay = {layer.index for layer in after.layers}
    if len(stay) == len(before.layers):
        return before
    kept: list[nn.Module] = []
    for block, layer in zip(family.layers(model), before.layers, strict=True):
        if layer.index in stay:
            kept.append(block)
        elif optimizer is not None:
            _forget(optimizer, set(block.parameters()))
    model.set_submodule(family.blocks, nn.ModuleList(kept))
    _renumber(model, kept, [place for place, layer in enumerate(before.layers) if layer.index in stay])
    return only_layers(before, after)


def _renumber(model: nn.Module, blocks: Sequence[nn.Module], places: Sequence[int]) -> None:
    """Make the KV cache and the masks of the model find the blocks where they now stand.

    Args:
        places: where they stood.
    """
    for number, block in enumerate(blocks):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                vars(module).update(layer_idx=number)
    config: Any = model.config
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = [config.layer_types[place] for place in places]
    config.num_hidden_layers = len(blocks)


def _forget(optimizer: Optimizer, parameters: set[nn.Parameter]) -> None:
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if parameter not in parameters]
    for parameter in parameters:
        optimizer.state.pop(parameter, None)


def cut_block(
    block: nn.Module,
    family: Family,
    shape: ModelShape,
    before: LayerPlan,
    after: LayerPlan,
    optimizer: Optimizer | None,
) -> None:
    """`cut`, of one block."""
    for member in family.members:
        if len(after.kept(member.kind)) == len(before.kept(member.kind)):
            continue
        with adapters.whole(block, member):
            for parameter, axis in adapters.parameters(block, member):
                kept = kept_channels(member, shape, before, after).to(parameter.device)
                _select(parameter, axis, kept, {} if optimizer is None else optimizer.state.get(parameter, {}))
            adapters.resized(block, member)
    if family.counts_heads:
        _count_heads(block.get_submodule("self_attn"), shape, len(after.kept(Kind.KV_GROUP)))


HEAD_COUNTS = "config", "num_key_value_heads"
"""What an attention notes of its heads, where it splits its answers by count."""


def _count_heads(attention: nn.Module, shape: ModelShape, kv_heads: int) -> None:
    """Tell an attention how many heads it has; its layer's neighbours, who share the configuration, may have others."""
    config: Any = copy.copy(attention.config)
    config.num_attention_heads, config.num_key_value_heads = kv_heads * shape.group, kv_heads
    vars(attention).update(config=config, num_key_value_heads=kv_heads)


def silence_block(
    block: nn.Module,
    family: Family,
    shape: ModelShape,
    present: LayerPlan,
    after: LayerPlan,
    optimizer: Optimizer | None,
) -> None:
    """`silence`, of one block."""
    for member in family.members:
        with adapters.whole(block, member):
            for parameter, axis in adapters.parameters(block, member):
                gone = torch.ones(parameter.shape[axis], dtype=torch.bool)
                gone[kept_channels(member, shape, present, after)] = False
                moments = {} if optimizer is None else optimizer.state.get(parameter, {})
                _zero(parameter, axis, gone.nonzero().flatten().to(parameter.device), moments)


def kept_channels(member: Member, shape: ModelShape, before: LayerPlan, after: LayerPlan) -> Tensor:
    """Where the channels that stay stand among those that are there now."""
    there = before.kept(member.kind)
    return torch.tensor(member.places(shape, len(there), positions(there, after.kept(member.kind))))


def _select(parameter: Tensor, axis: int, kept: Tensor, moments: dict[str, Any]) -> None:
    whole, gradient = parameter.shape, parameter.grad
    parameter.grad = None  # a gradient must have its parameter's shape at every moment
    parameter.data = parameter.data.index_select(axis, kept)
    if gradient is not None:
        parameter.grad = gradient.index_select(axis, kept)
    for name, value in moments.items():
        if isinstance(value, Tensor) and value.shape == whole:
            moments[name] = value.index_select(axis, kept)


@torch.no_grad()
def _zero(parameter: Tensor, axis: int, gone: Tensor, moments: dict[str, Any]) -> None:
    for tensor in (parameter, parameter.grad, *moments.values()):
        if isinstance(tensor, Tensor) and tensor.shape == parameter.shape:
            tensor.index_fill_(axis, gone, 0)
