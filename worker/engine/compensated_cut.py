"""Cutting block by block while calibration text flows through, each block making up for its own loss.

One forward pass does it all: when a block has run, its gates' inputs are known; it is cut and mended, and runs again,
so that the next block sees what it will really get.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

from jobs.shapes import ModelShape
from worker.engine import adapters, reconstruction, surgery
from worker.engine.architectures import Family, Kind
from worker.engine.plan import LayerPlan, Plan
from worker.engine.reconstruction import Gram


@torch.no_grad()
def cut(
    model: PreTrainedModel,
    family: Family,
    shape: ModelShape,
    before: Plan,
    after: Plan,
    optimizer: Optimizer | None,
    ids_NT: Tensor,
    *,
    bfloat16: bool,
) -> None:
    """As `surgery.cut`, and the frozen weights of the gates are corrected on the way.

    Args:
        ids_NT: calibration windows; all of them pass at once, so their number bounds the memory.
        bfloat16: whether the text flows in bfloat16; the solves never do.
    """
    training = model.training
    model.eval()
    inputs: dict[Kind, Tensor] = {}
    left = surgery.drop_layers(model, family, before, after, optimizer)
    blocks = zip(family.layers(model), left.layers, after.layers, strict=True)
    # Without its cache: that would keep casts of weights as they were before the cut.
    autocast = torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False)
    with _hooked(list(blocks), inputs, family, shape, optimizer), autocast:
        model.get_decoder()(input_ids=ids_NT.long().to(model.device), use_cache=False)
    model.train(training)


@contextmanager
def _hooked(
    blocks: list[tuple[nn.Module, LayerPlan, LayerPlan]],
    inputs: dict[Kind, Tensor],
    family: Family,
    shape: ModelShape,
    optimizer: Optimizer | None,
) -> Iterator[None]:
    """`inputs` always holds what entered the gates of the block that ran last."""
    hooks = []
    for block, old, new in blocks:
        for kind in Kind:
            gate = block.get_submodule(family.gate(kind).path)
            hooks.append(gate.register_forward_pre_hook(partial(_remember, inputs, kind)))
        rework = partial(_rework, inputs, family, shape, old, new, optimizer)
        hooks.append(block.register_forward_hook(rework, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _remember(inputs: dict[Kind, Tensor], kind: Kind, gate: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    inputs[kind] = arguments[0].flatten(0, -2)


def _rework(
    inputs: dict[Kind, Tensor],
    family: Family,
    shape: ModelShape,
    before: LayerPlan,
    after: LayerPlan,
    optimizer: Optimizer | None,
    block: nn.Module,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    output: Tensor,
) -> Tensor:
    cut_kinds = [kind for kind in Kind if len(after.kept(kind)) < len(before.kept(kind))]
    with torch.autocast(output.device.type, enabled=False):
        for kind in cut_kinds:
            member = family.gate(kind)
            weight_OI = adapters.effective(block, member)
            kept_S = surgery.kept_channels(member, shape, before, after).to(weight_OI.device)
            change_OS = reconstruction.correction(weight_OI, Gram.of(inputs[kind]), kept_S)
            adapters.add_to_frozen(block, member, kept_S, change_OS)
    surgery.cut_block(block, family, shape, before, after, optimizer)
    again: Tensor = block.forward(*arguments, **named)
    return again
