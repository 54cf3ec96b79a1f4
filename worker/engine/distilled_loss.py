"""What one token's prediction costs and how that changes with its logits: the text's part, and a teacher's.

    (1 - w) · CE(label) + w · τ² · KL(teacher ‖ student at temperature τ)

Source: Hinton et al. 2015, arXiv:1503.02531.

Legend: T tokens, V vocabulary, K tokens that a belief names; t, some of T.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.precision import at_least_float32

CACHED = 2**19
"""Logits that a core's cache holds with what is made of them."""


@dataclass(frozen=True)
class Mix:
    """`weight` is the teacher's part of the loss; `temperature` flattens both distributions before they compare."""

    weight: float
    temperature: float


@dataclass(frozen=True)
class Whole:
    """A belief about every token of the vocabulary, as logits at temperature 1."""

    logits_TV: Tensor

    def at(self, place_t: Tensor | slice) -> "Whole":
        """The same about some of the tokens."""
        return Whole(self.logits_TV[place_t])


@dataclass(frozen=True)
class Best:
    """A belief about the likeliest tokens: their log-probabilities at the loss's temperature, and which they are.

    The probabilities are of the whole vocabulary, so they need not sum to one: the rest is one more outcome, "any other
    token", whose mass the student may spread as it likes. With all tokens named, nothing is left of it.
    """

    log_probs_TK: Tensor
    tokens_TK: Tensor

    def at(self, place_t: Tensor | slice) -> "Best":
        """The same about some of the tokens."""
        return Best(self.log_probs_TK[place_t], self.tokens_TK[place_t])


Belief = Whole | Best


def of_tokens(logits_tV: Tensor, labels_t: Tensor, belief: Belief | None, mix: Mix | None) -> tuple[Tensor, Tensor]:
    """Summed loss of some tokens, about which a teacher may have a belief each, and its gradient by their logits.

    On a CPU a few tokens at once: what a softmax makes on its way then stays in the cache, which takes a third of the
    time, and is never in memory for all of them.

    Returns:
        The loss in float32 at least, and the gradient in the dtype of the logits.
    """
    tokens, words = logits_tV.shape
    rows = max(1, torch.get_num_threads() * CACHED // words) if logits_tV.device.type == "cpu" else tokens
    gradient_tV = torch.empty_like(logits_tV)
    total = logits_tV.new_zeros((), dtype=at_least_float32(logits_tV))
    for start in range(0, tokens, rows):
        part = slice(start, start + rows)
        if belief is None or mix is None:
            loss, gradient_tV[part] = of_text(logits_tV[part], labels_t[part])
        else:
            loss, gradient_tV[part] = distilled(logits_tV[part], labels_t[part], belief.at(part), mix)
        total += loss
    return total, gradient_tV


def of_text(logits_tV: Tensor, labels_t: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy of some tokens, in nats, and its gradient by their logits; in float32 at least."""
    log_p_tV = logits_tV.to(at_least_float32(logits_tV)).log_softmax(dim=-1)
    loss = -log_p_tV.gather(1, labels_t[:, None]).sum()
    gradient_tV = log_p_tV.exp_()
    gradient_tV.scatter_add_(1, labels_t[:, None], gradient_tV.new_full((len(labels_t), 1), -1.0))
    return loss, gradient_tV


def distilled(logits_tV: Tensor, labels_t: Tensor, belief: Belief, mix: Mix) -> tuple[Tensor, Tensor]:
    """Summed loss of some tokens about which a teacher has a belief each, and its gradient by their logits."""
    entropy, gradient_tV = of_text(logits_tV, labels_t)
    log_p_tV = (logits_tV.to(at_least_float32(logits_tV)) / mix.temperature).log_softmax(dim=-1)
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
