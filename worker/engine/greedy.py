"""What a model writes when it always takes the likeliest token, and whether two of them write the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Written:
    """Tokens, and by how much each led the next likely, as a part of the spread of the logits."""

    tokens: list[int]
    leads: list[float]


@torch.inference_mode()
def write(model: PreTrainedModel, ids_T: Tensor, count: int, *, cached: bool = True) -> Written:
    """Go on from `ids_T` for `count` tokens, or to the end of the text."""
    done: Any = model.generate(  # type: ignore[operator]
        ids_T[None].to(model.device),
        max_new_tokens=count,
        do_sample=False,
        use_cache=cached,
        output_logits=True,
        return_dict_in_generate=True,
    )
    leads = []
    for (logits_V,) in done.logits:
        first, second = logits_V.float().topk(2).values.tolist()
        leads.append((first - second) / float(logits_V.float().std()))
    return Written(done.sequences[0, len(ids_T) :].tolist(), leads)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def parting_lead(written: Written, other: Sequence[int]) -> float:
    """How sure the model was of the token at which the other parts from it; 0 if it never does."""
    equal = common(written.tokens, other)
    parts = equal < min(len(written.tokens), len(other))
    return written.leads[equal] if parts else 0.0
