"""How far the pruned model's predictions are from the dense one's, token by token.

Far less noisy than a difference of perplexities: both models answer the same question at every token.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from jobs import errors
from worker.engine import evaluation
from worker.engine.side_by_side import Pair
from worker.engine.windows import Windows


@dataclass(frozen=True)
class Agreement:
    """KL divergences are KL(dense || pruned), in nats per token, over the whole vocabulary."""

    tokens: int
    kl_mean: float
    kl_median: float
    kl_p99: float
    top1: float


@dataclass(frozen=True)
class Compared:
    """The same windows, as both models predict them."""

    dense_perplexity: float
    pruned_perplexity: float
    agreement: Agreement


@torch.inference_mode()
def measure(pair: Pair, windows: Windows) -> Compared:
    """Over the tokens that perplexity is taken over, and that perplexity itself: one pass of each model.

    Both answer one batch after the other. Nothing is approximated, and no more is held than a batch of the dense
    model's logits and, of the pruned one's and of the distributions in float32, `evaluation.CHUNK_TOKENS` tokens.

    Raises:
        LossNotFinite: a model answers with NaN or infinity.
    """
    chunks: list[Tensor] = []
    for ids_BT, labels_BT in evaluation.batches(windows, len(windows)):
        with pair.at_work("dense") as model:
            of_dense = list(evaluation.predictions(model, ids_BT, labels_BT))
        with pair.at_work("pruned") as model:
            of_pruned = evaluation.predictions(model, ids_BT, labels_BT)
            for (dense_CV, targets_C), (pruned_CV, _) in zip(of_dense, of_pruned, strict=True):
                chunks.append(_compare(dense_CV, pruned_CV, targets_C).cpu())
    dense_N, pruned_N, kl_N, same_N = torch.cat(chunks, dim=1)
    dense, pruned = (evaluation.from_losses(float(losses_N.sum()), len(losses_N)) for losses_N in (dense_N, pruned_N))
    if not bool(kl_N.isfinite().all()):
        raise errors.LossNotFinite("A KL divergence is NaN or infinite.", hint="Write the model in float32.")
    return Compared(
        dense_perplexity=dense,
        pruned_perplexity=pruned,
        agreement=Agreement(
            tokens=len(kl_N),
            kl_mean=float(kl_N.mean()),
            kl_median=float(kl_N.median()),
            kl_p99=float(kl_N.kthvalue(math.ceil(0.99 * len(kl_N))).values),
            top1=float(same_N.mean()),
        ),
    )


def _compare(dense_CV: Tensor, pruned_CV: Tensor, targets_C: Tensor) -> Tensor:
    """(4, C) in float64: both models' losses, the divergence, and whether both find the same token likeliest."""
    log_p_CV, log_q_CV = (functional.log_softmax(logits_CV.float(), dim=-1) for logits_CV in (dense_CV, pruned_CV))
    kl_C = functional.kl_div(log_q_CV, log_p_CV, log_target=True, reduction="none").sum(dim=-1)
    losses = [functional.nll_loss(log_CV, targets_C, reduction="none") for log_CV in (log_p_CV, log_q_CV)]
    return torch.stack([*losses, kl_C, dense_CV.argmax(dim=-1) == pruned_CV.argmax(dim=-1)]).double()
