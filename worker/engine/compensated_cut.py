"""Cutting block by block while calibration text flows through, each block making up for its own loss.

Each block runs twice: once to be watched, so that its gates' inputs are known; then it is cut and mended, and runs
again, so that the next block sees what it will really get.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

from jobs.shapes import ModelShape
from worker.engine import adapters, reconstruction, surgery
from worker.engine.architectures import Family, Kind, Member
from worker.engine.blockwise import Stream
from worker.engine.plan import LayerPlan, Plan
from worker.engine.reconstruction import Gram
from worker.engine.surgery import RemoveUnits


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
    remove: RemoveUnits = surgery.cut_block,
) -> None:
    """As `surgery.cut`, and the frozen weights of the gates are corrected on the way.

    Args:
        before: what the model physically has; with `silence_block`, units that are zero already are among it.
        ids_NT: calibration windows; their hidden states stay in memory, the rest passes in pieces.
        bfloat16: whether the text flows in bfloat16; the solves never do.
        remove: how units leave a block.
    """
    training = model.training
    model.eval()
    left = surgery.drop_layers(model, family, before, after, optimizer)
    blocks = list(family.layers(model))
    # Without its cache: that would keep casts of weights as they were before the cut.
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False):
        stream = Stream(model, blocks, ids_NT)
        for index, (block, old, new) in enumerate(zip(blocks, left.layers, after.layers, strict=True)):
            gates = [family.gate(kind) for kind in Kind if len(new.kept(kind)) < len(old.kept(kind))]
            if gates:
                with _watched(block, gates) as grams:
                    stream.visit(index)
                _mend(block, shape, old, new, grams)
                remove(block, family, shape, old, new, optimizer)
            stream.advance(index)
    model.train(training)


@contextmanager
def _watched(block: nn.Module, gates: Sequence[Member]) -> Iterator[dict[Member, Gram]]:
    """The Gram matrices of what enters the gates while the context is open."""
    grams: dict[Member, Gram] = {}
    hooks = [
        block.get_submodule(gate.path).register_forward_pre_hook(partial(_remember, grams, gate)) for gate in gates
    ]
    try:
        yield grams
    finally:
        for hook in hooks:
            hook.remove()


def _remember(grams: dict[Member, Gram], member: Member, gate: nn.Module, arguments: tuple[Any, ...]) -> None:
    inputs_NI: Tensor = arguments[0].flatten(0, -2)
    if member not in grams:
        grams[member] = Gram(inputs_NI.shape[1], inputs_NI.device)
    with torch.autocast(inputs_NI.device.type, enabled=False):
        grams[member].add(inputs_NI)


def _mend(block: nn.Module, shape: ModelShape, before: LayerPlan, after: LayerPlan, grams: dict[Member, Gram]) -> None:
    for member, gram in grams.items():
        with torch.autocast(gram.shaping_II.device.type, enabled=False):
            weight_OI = adapters.effective(block, member)
            kept_S = surgery.kept_channels(member, shape, before, after).to(weight_OI.device)
            change_OS = reconstruction.correction(weight_OI, gram, kept_S)
            adapters.add_to_frozen(block, member, kept_S, change_OS)
