"""The dense and the pruned model, to be asked in turns; both on the accelerator if they fit there together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel

from worker.engine import base_models
from worker.engine.base_models import BaseModel

Which = Literal["dense", "pruned"]
BOTH: tuple[Which, Which] = ("dense", "pruned")

SPARE = 0.25
"""Memory for logits and caches beside the weights of both models, as a part of those."""


@dataclass(frozen=True)
class Pair:
    """With `crowded`, the model that is not at work waits in host memory: slower, and the numbers are the same."""

    dense: PreTrainedModel
    pruned: PreTrainedModel
    device: torch.device
    crowded: bool

    @contextmanager
    def at_work(self, which: Which) -> Iterator[PreTrainedModel]:
        """One of the two, on the device."""
        model, other = (self.dense, self.pruned) if which == "dense" else (self.pruned, self.dense)
        if self.crowded:
            torch.nn.Module.to(other, "cpu")
            torch.nn.Module.to(model, self.device)
        yield model


def load(dense: BaseModel, pruned: Path, dtype: torch.dtype) -> Pair:
    """Both models from their folders, in one dtype; the pruned one may be of a class that cannot be pruned.

    Raises:
        BaseModelIncomplete
    """
    second = base_models.load(pruned, pruned.name, dtype)
    device, crowded = second.device, False
    if device.type == "cuda":
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(device)
        needed = dense.shape.parameters * dtype.itemsize
        crowded = needed + SPARE * (needed + weight_bytes(second)) > free
    if crowded:
        torch.nn.Module.to(second, "cpu")
    return Pair(dense.load(dtype), second, device, crowded)


def weight_bytes(model: PreTrainedModel) -> int:
    """Bytes of the parameters as they are held in memory; tied ones count once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
