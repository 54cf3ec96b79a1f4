"""Perplexity: how well a model predicts held-out text."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs import errors
from jobs.memory import EVALUATION_TOKENS
from worker.engine.windows import IGNORED, Windows

CHUNK_TOKENS = 256
"""Tokens whose distributions are held in float32 at once."""


@torch.inference_mode()
def perplexity(model: nn.Module, windows: Windows, max_windows: int) -> float:
    """exp of the mean negative log-likelihood over the learned tokens of the first `max_windows` windows.

    Windows do not overlap, and their first token is not predicted. The model runs in its own dtype; likelihoods are
    taken in float32 and summed in float64.

    Raises:
        LossNotFinite: the model answers with NaN or infinity.
    """
    total, count = 0.0, 0
    for ids_BT, labels_BT in batches(windows, max_windows):
        logits_NV, targets_N = predictions(model, ids_BT, labels_BT)
        for logits_CV, targets_C in zip(logits_NV.split(CHUNK_TOKENS), targets_N.split(CHUNK_TOKENS), strict=True):
            losses_C = functional.cross_entropy(logits_CV.float(), targets_C, reduction="none")
            total += float(losses_C.double().sum())
        count += len(targets_N)
    return from_losses(total, count)


def batches(windows: Windows, max_windows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and labels of the first windows, so many at a time as one forward pass takes."""
    ids_NT, labels_NT = windows.ids_NT[:max_windows], windows.labels_NT[:max_windows]
    per_batch = max(1, EVALUATION_TOKENS // ids_NT.shape[1])
    yield from zip(ids_NT.split(per_batch), labels_NT.split(per_batch), strict=True)


def predictions(model: nn.Module, ids_BT: Tensor, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
    """(N, V) logits of the N tokens that are learned, in the model's dtype, and (N,) which tokens they are."""
    device = next(model.parameters()).device
    logits_BTV = model.eval()(input_ids=ids_BT.long().to(device), use_cache=False).logits[:, :-1]
    targets_BT = labels_BT[:, 1:].long()
    places_N = (targets_BT.flatten() != IGNORED).nonzero()[:, 0]
    logits_NV: Tensor = logits_BTV.flatten(0, 1)
    if len(places_N) < len(logits_NV):
        logits_NV = logits_NV[places_N.to(device)]
    return logits_NV, targets_BT.flatten()[places_N].to(device)


def from_losses(total: float, count: int) -> float:
    """The perplexity of `count` tokens whose negative log-likelihoods sum to `total`, in nats."""
    if count == 0:
        raise errors.DatasetEmpty("No token of the held-out windows is learned, so there is nothing to measure.")
    mean = total / count
    if not math.isfinite(mean):
        raise errors.LossNotFinite("The perplexity is NaN or infinite.", hint="Train in float32.")
    return math.exp(min(mean, 700.0))
