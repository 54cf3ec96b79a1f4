"""The loss of a language model over its learned tokens, without their logits ever being whole.

A vocabulary is up to a hundred times as wide as the stream that it is predicted from: with the float32 copies that a
softmax needs, and their gradients, the logits of a batch take more memory than all blocks together. Nothing behind the
decoder learns, so all that the way back needs is the gradient by the decoder's answers. It is written down in the
forward pass, `TOKENS` at a time, where the logits are at hand; what is not learned never gets logits.

Legend: B sequences, T tokens, D hidden channels, V vocabulary; t, some of T.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from jobs.memory import LOSS_TOKENS as TOKENS
from worker.engine import distilled_loss, language_head
from worker.engine.language_head import Head
from worker.engine.precision import at_least_float32
from worker.engine.teachers import Said, Teaching


def of(
    model: PreTrainedModel,
    ids_BT: Tensor,
    labels_BT: Tensor,
    items: Tensor | int,
    *,
    bfloat16: bool,
    teaching: Teaching | None = None,
    numbers_B: Tensor | None = None,
) -> Tensor:
    """The summed loss over `items`: cross-entropy with the next token, or that and a teacher's beliefs, mixed.

    Args:
        model: a bare `...ForCausalLM`.
        labels_BT: as the inputs; negative where a token is not learned.
        items: learned tokens of the optimizer step, in all its micro-batches and processes.
        bfloat16: whether products are in it; the loss is in float32.
        numbers_B: which windows these are, for a teacher that has noted its beliefs.

    Returns:
        A scalar.
    """
    with torch.autocast(ids_BT.device.type, torch.bfloat16, enabled=bfloat16):
        hidden_BTD = model.get_decoder()(input_ids=ids_BT, use_cache=False).last_hidden_state
        return behind(
            language_head.of(model), hidden_BTD, ids_BT, labels_BT, items, teaching=teaching, numbers_B=numbers_B
        )


def behind(
    head: Head,
    hidden_BTD: Tensor,
    ids_BT: Tensor,
    labels_BT: Tensor,
    items: Tensor | int,
    *,
    teaching: Teaching | None = None,
    numbers_B: Tensor | None = None,
) -> Tensor:
    """The same, from what the decoder answered; nothing inside `head` gets a gradient."""
    loss: Tensor = _Loss.apply(hidden_BTD, head, ids_BT, labels_BT, teaching, numbers_B)
    return loss / items


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_BTD: Tensor,
        head: Head,
        ids_BT: Tensor,
        labels_BT: Tensor,
        teaching: Teaching | None,
        numbers_B: Tensor | None,
    ) -> Tensor:
        gradient_BTD = torch.zeros_like(hidden_BTD)
        total = hidden_BTD.new_zeros((), dtype=at_least_float32(hidden_BTD))
        learned_BT = (labels_BT[:, 1:] >= 0).cpu()  # which tokens, asked of the device once
        for row, said in enumerate(_said(teaching, ids_BT, numbers_B)):
            for place_t, labels_t in _pieces(learned_BT[row], labels_BT[row]):
                with torch.enable_grad():
                    leaf_tD = hidden_BTD[row, place_t].detach().requires_grad_()
                    logits_tV = head(leaf_tD)
                belief = None if said is None else said.at(place_t)
                mix = None if teaching is None else teaching.mix
                loss, gradient_tV = distilled_loss.of_tokens(logits_tV.detach(), labels_t, belief, mix)
                total += loss
                gradient_BTD[row, place_t] = torch.autograd.grad(logits_tV, leaf_tD, gradient_tV)[0]
        ctx.save_for_backward(gradient_BTD)
        return total

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (gradient_BTD,) = ctx.saved_tensors
        return gradient_BTD * outer.to(gradient_BTD.dtype), None, None, None, None, None


def _said(teaching: Teaching | None, ids_BT: Tensor, numbers_B: Tensor | None) -> Iterator[Said | None]:
    """What a teacher says about each sequence, if there is one; it is asked about a few at a time."""
    if teaching is None:
        yield from [None] * len(ids_BT)
        return
    group = max(1, 8 * TOKENS // ids_BT.shape[1])
    for start in range(0, len(ids_BT), group):
        rows = slice(start, start + group)
        yield from teaching.ask(ids_BT[rows], None if numbers_B is None else numbers_B[rows])


def _pieces(learned_T: Tensor, labels_T: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
    """Places whose next token is learned, and that token, some at a time."""
    places = learned_T.nonzero().flatten().to(labels_T.device)
    return [(place_t, labels_T[place_t + 1]) for place_t in places.split(TOKENS) if len(place_t)]
