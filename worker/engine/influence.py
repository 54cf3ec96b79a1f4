"""How much each block changes what passes through it.

Legend: B windows in a batch, T tokens, D hidden channels, L layers.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from jobs.memory import CALIBRATION_TOKENS
from worker.engine import ranks
from worker.engine.architectures import Family
from worker.engine.plan import Plan


@torch.no_grad()
def block_influence(model: PreTrainedModel, family: Family, ids_NT: Tensor, *, bfloat16: bool) -> list[float]:
    """1 − E cos(x, y) of what enters and what leaves each block, over all tokens of `ids_NT`: one forward pass.

    The same on all processes of a training run. Source: ShortGPT, Men et al. 2024, arXiv:2403.03853, eq. 1.
    """
    training = model.training
    model.eval()
    blocks = list(family.layers(model))
    cosines_L = torch.zeros(len(blocks), device=model.device)
    hooks = [
        block.register_forward_hook(partial(_compare, cosines_L, place), with_kwargs=True)
        for place, block in enumerate(blocks)
    ]
    try:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False):
            for ids_BT in ids_NT.split(max(1, CALIBRATION_TOKENS // ids_NT.shape[1])):
                model.get_decoder()(input_ids=ids_BT.long().to(model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    ranks.as_first([cosines_L])
    return (1 - cosines_L / ids_NT.numel()).tolist()


def least(plan: Plan, influence: Sequence[float], count: int) -> Collection[int]:
    """The indices of the `count` layers that change their input least; never the first or the last."""
    inner = list(zip(influence, (layer.index for layer in plan.layers), strict=True))[1:-1]
    return {index for _, index in sorted(inner)[:count]}


def _compare(
    cosines_L: Tensor, place: int, block: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any
) -> None:
    entered_BTD = inputs[0] if inputs else named["hidden_states"]
    left_BTD = output[0] if isinstance(output, tuple) else output
    cosines_L[place] += functional.cosine_similarity(entered_BTD.float(), left_BTD.float(), dim=-1).sum()
