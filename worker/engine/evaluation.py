"""Perplexity: how well a model predicts held-out text.

Legend: N windows, B of them in a batch, T tokens, D hidden channels, V vocabulary; C, some tokens of a batch.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from jobs import errors
from jobs.memory import EVALUATION_TOKENS
from jobs.memory import LOSS_TOKENS as CHUNK_TOKENS
from worker.engine import language_head
from worker.engine.windows import IGNORED, Windows


@torch.inference_mode()
def perplexity(model: PreTrainedModel, windows: Windows, max_windows: int) -> float:
    """exp of the mean negative log-likelihood over the learned tokens of the first `max_windows` windows.

    Windows do not overlap, and their first token is not predicted. The model runs in its own dtype; likelihoods are
    taken in float32 and summed in float64.

    Raises:
        LossNotFinite: the model answers with NaN or infinity.
    """
    total: Tensor | float = 0.0  # on the device: nobody waits for it before the end
    count = 0
    for ids_BT, labels_BT in batches(windows, max_windows):
        for logits_CV, targets_C in predictions(model, ids_BT, labels_BT):
            losses_C = functional.cross_entropy(logits_CV.float(), targets_C, reduction="none")
            total = total + losses_C.double().sum()
            count += len(targets_C)
    return from_losses(float(total), count)


def batches(windows: Windows, max_windows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and labels of the first windows, so many at a time as one forward pass takes."""
    ids_NT, labels_NT = windows.ids_NT[:max_windows], windows.labels_NT[:max_windows]
    per_batch = max(1, EVALUATION_TOKENS // ids_NT.shape[1])
    yield from zip(ids_NT.split(per_batch), labels_NT.split(per_batch), strict=True)


def predictions(model: PreTrainedModel, ids_BT: Tensor, labels_BT: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(C, V) logits of tokens that are learned, in the model's dtype, and (C,) which tokens they are.

    `CHUNK_TOKENS` at a time: the logits of a batch, which may take more memory than the model, are never whole.
    """
    device = next(model.parameters()).device
    decoder, head = model.eval().get_decoder(), language_head.of(model)
    hidden_BTD = decoder(input_ids=ids_BT.long().to(device), use_cache=False).last_hidden_state
    learned_BT = labels_BT[:, 1:] != IGNORED
    hidden_ND, targets_N = hidden_BTD[:, :-1][learned_BT.to(device)], labels_BT[:, 1:][learned_BT].long().to(device)
    if len(targets_N):
        for hidden_CD, targets_C in zip(hidden_ND.split(CHUNK_TOKENS), targets_N.split(CHUNK_TOKENS), strict=True):
            yield head(hidden_CD), targets_C


def from_losses(total: float, count: int) -> float:
    """The perplexity of `count` tokens whose negative log-likelihoods sum to `total`, in nats."""
    if count == 0:
        raise errors.DatasetEmpty("No token of the held-out windows is learned, so there is nothing to measure.")
    mean = total / count
    if not math.isfinite(mean):
        raise errors.LossNotFinite("The perplexity is NaN or infinite.", hint="Train in float32.")
    return math.exp(min(mean, 700.0))
