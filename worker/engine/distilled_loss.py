"""The loss of a student that also learns what a teacher believes, with its gradient, a few tokens at a time.

    ((1 - w) · CE(labels) + w · τ² · KL(teacher ‖ student at temperature τ)) / items, summed over the learned tokens

Source: Hinton et al. 2015, arXiv:1503.02531. The float32 copies that a softmax needs exist for `TOKENS` at once, not
for a whole batch: the gradient is written down in the forward pass, where they are at hand.

Legend: B sequences, T tokens, V vocabulary, K tokens that a belief names; t, some of T.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TOKENS = 256
"""Tokens whose softmax is in memory at once."""


@dataclass(frozen=True)
class Mix:
    """`weight` is the teacher's part of the loss; `temperature` flattens both distributions before they compare."""

    weight: float
    temperature: float


@dataclass(frozen=True)
class Whole:
    """A belief about every token of the vocabulary, as logits at temperature 1."""

    logits_TV: Tensor


@dataclass(frozen=True)
class Best:
    """A belief about the likeliest tokens: their log-probabilities at the loss's temperature, and which they are.

    The probabilities are of the whole vocabulary, so they need not sum to one: the rest is one more outcome, "any other
    token", whose mass the student may spread as it likes. With all tokens named, nothing is left of it.
    """

    log_probs_TK: Tensor
    tokens_TK: Tensor


Belief = Whole | Best
Ask = Callable[[Tensor, Tensor | None], Sequence[Belief]]
"""Beliefs about sequences (B, T), numbered (B,) as in the training text: one each, of T − 1 rows or more."""


def distilled(
    logits_BTV: Tensor,
    ids_BT: Tensor,
    labels_BT: Tensor,
    items: Tensor | int,
    ask: Ask,
    mix: Mix,
    numbers_B: Tensor | None,
) -> Tensor:
    """The loss, a scalar in float32 (float64 for float64 logits).

    Args:
        items: learned tokens of the optimizer step, in all its micro-batches and processes.
        labels_BT: as the inputs; negative where a token is not learned.
    """
    loss: Tensor = _Distilled.apply(logits_BTV, ids_BT, labels_BT, ask, mix, numbers_B)
    return loss / items


class _Distilled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_BTV: Tensor, ids_BT: Tensor, labels_BT: Tensor, ask: Ask, mix: Mix, numbers_B: Tensor | None
    ) -> Tensor:
        gradient_BTV = torch.zeros_like(logits_BTV)
        total = logits_BTV.new_zeros((), dtype=_precise(logits_BTV))
        group = max(1, 8 * TOKENS // ids_BT.shape[1])
        for start in range(0, len(ids_BT), group):
            rows = slice(start, start + group)
            beliefs = ask(ids_BT[rows], None if numbers_B is None else numbers_B[rows])
            for row, belief in enumerate(beliefs, start):
                for place, labels_t in _pieces(labels_BT[row]):
                    loss, gradient_tV = _piece(logits_BTV[row][place], labels_t, _part(belief, place), mix)
                    total += loss
                    gradient_BTV[row][place] = gradient_tV
        ctx.save_for_backward(gradient_BTV)
        return total

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (gradient_BTV,) = ctx.saved_tensors
        return gradient_BTV * outer.to(gradient_BTV.dtype), None, None, None, None, None


def _pieces(labels_T: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
    """Places whose next token is learned, and that token, some at a time."""
    places = (labels_T[1:] >= 0).nonzero().flatten()
    return [(places_t, labels_T[places_t + 1]) for places_t in places.split(TOKENS)]


def _part(belief: Belief, place: Tensor) -> Belief:
    match belief:
        case Whole(logits_TV):
            return Whole(logits_TV[place])
        case Best(log_probs_TK, tokens_TK):
            return Best(log_probs_TK[place], tokens_TK[place])


def _piece(logits_tV: Tensor, labels_t: Tensor, belief: Belief, mix: Mix) -> tuple[Tensor, Tensor]:
    """Summed loss of some tokens, and its gradient by their logits."""
    logits_tV = logits_tV.to(_precise(logits_tV))
    log_p_tV = logits_tV.log_softmax(dim=-1)
    entropy = -log_p_tV.gather(1, labels_t[:, None]).sum()
    gradient_tV = log_p_tV.exp()
    gradient_tV.scatter_add_(1, labels_t[:, None], gradient_tV.new_full((len(labels_t), 1), -1.0))
    if mix.temperature != 1:
        log_p_tV = (logits_tV / mix.temperature).log_softmax(dim=-1)
    divergence, aim_tV = _compare(log_p_tV, belief, mix.temperature)
    loss = (1 - mix.weight) * entropy + mix.weight * mix.temperature**2 * divergence
    return loss, gradient_tV * (1 - mix.weight) + (log_p_tV.exp() - aim_tV) * (mix.weight * mix.temperature)


def _compare(log_p_tV: Tensor, belief: Belief, temperature: float) -> tuple[Tensor, Tensor]:
    """Σ KL(belief ‖ p), and the distribution a that makes p − a its gradient by the logits."""
    match belief:
        case Whole(logits_TV):
            log_q_tV = (logits_TV.to(log_p_tV) / temperature).log_softmax(dim=-1)
            q_tV = log_q_tV.exp()
            return (q_tV * (log_q_tV - log_p_tV)).sum(), q_tV
        case Best(log_probs_TK, tokens_TK):
            log_q_tK, tokens_tK = log_probs_TK.to(log_p_tV), tokens_TK.to(log_p_tV.device, torch.int64)
            q_tK = log_q_tK.exp()
            log_p_others_tV = log_p_tV.scatter(1, tokens_tK, -torch.inf)
            rest_t1 = (1 - q_tK.sum(dim=1, keepdim=True)).clamp_min(0)
            if tokens_tK.shape[1] == log_p_tV.shape[1]:  # what is left is rounding
                rest_t1 = torch.zeros_like(rest_t1)
            log_p_rest_t1 = log_p_others_tV.logsumexp(dim=1, keepdim=True)
            left_t1 = torch.where(rest_t1 > 0, torch.xlogy(rest_t1, rest_t1) - rest_t1 * log_p_rest_t1, 0)
            named_tK = q_tK * (log_q_tK - log_p_tV.gather(1, tokens_tK))
            spread_tV = torch.where(rest_t1 > 0, rest_t1 * (log_p_others_tV - log_p_rest_t1).exp(), 0)
            return named_tK.sum() + left_t1.sum(), spread_tV.scatter(1, tokens_tK, q_tK)


def _precise(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
