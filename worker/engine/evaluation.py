"""Perplexity: how well a model predicts held-out text."""

import math

import torch
from torch import nn
from torch.nn import functional

from jobs import errors
from worker.engine.windows import IGNORED, Windows

BATCH_TOKENS = 2048
"""Tokens per forward pass; the logits of more would be the largest tensor in memory."""


@torch.inference_mode()
def perplexity(model: nn.Module, windows: Windows, max_windows: int) -> float:
    """exp of the mean negative log-likelihood over the learned tokens of the first `max_windows` windows.

    Windows do not overlap, get no begin-of-text token of their own, and their first token is not predicted. The
    model runs in its own dtype; likelihoods are taken in float32 and summed in float64.

    Raises:
        LossNotFinite: the model answers with NaN or infinity.
    """
    model.eval()
    device = next(model.parameters()).device
    ids_NT = windows.ids_NT[:max_windows]
    labels_NT = windows.labels_NT[:max_windows]
    per_batch = max(1, BATCH_TOKENS // ids_NT.shape[1])
    total, count = 0.0, 0
    for ids_BT, labels_BT in zip(ids_NT.split(per_batch), labels_NT.split(per_batch), strict=True):
        logits_BTV = model(input_ids=ids_BT.long().to(device), use_cache=False).logits[:, :-1]
        targets_BT = labels_BT[:, 1:].long().to(device)
        losses = functional.cross_entropy(
            logits_BTV.flatten(0, 1).float(), targets_BT.flatten(), ignore_index=IGNORED, reduction="none"
        )
        total += float(losses.double().sum())
        count += int((targets_BT != IGNORED).sum())
    if count == 0:
        raise errors.DatasetEmpty("No token of the held-out windows is learned, so there is nothing to measure.")
    mean = total / count
    if not math.isfinite(mean):
        raise errors.LossNotFinite("The perplexity is NaN or infinite.", hint="Train in float32.")
    return math.exp(min(mean, 700.0))
