"""The dense and the pruned model, to be asked in turns, on an accelerator that may hold both, one, or none of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel

from worker.engine import base_models, blockwise, devices
from worker.engine.base_models import BaseModel

Which = Literal["dense", "pruned"]
BOTH: tuple[Which, Which] = ("dense", "pruned")

Placement = Literal["together", "in_turns", "block_by_block"]
"""How they get onto the device: the numbers are the same, and each is slower than the one before it."""


@dataclass(frozen=True)
class Pair:
    """Both models; what is not on the device lies in main memory."""

    dense: PreTrainedModel
    pruned: PreTrainedModel
    device: torch.device
    placement: Placement

    @contextmanager
    def at_work(self, which: Which) -> Iterator[PreTrainedModel]:
        """One of the two, computing on the device."""
        model, other = (self.dense, self.pruned) if which == "dense" else (self.pruned, self.dense)
        match self.placement:
            case "together":
                yield model
            case "in_turns":
                torch.nn.Module.to(other, "cpu")
                torch.nn.Module.to(model, self.device)
                yield model
            case "block_by_block":
                with blockwise.lent(model, self.device):
                    yield model


def load(dense: BaseModel, pruned: Path, dtype: torch.dtype) -> Pair:
    """Both models from their folders, in one dtype; the pruned one may be of a class that cannot be pruned.

    Raises:
        BaseModelIncomplete
    """
    device, main_memory = devices.own(), torch.device("cpu")
    second = base_models.load(pruned, pruned.name, dtype, main_memory)
    placement = placed(dense.shape.parameters * dtype.itemsize, weight_bytes(second))
    if placement != "together":
        return Pair(dense.load(dtype, main_memory), second, device, placement)
    torch.nn.Module.to(second, device)
    return Pair(dense.load(dtype, device), second, device, placement)


def placed(dense: int, pruned: int) -> Placement:
    """How models with so many bytes of weights get onto the device."""
    if devices.holds(dense + pruned):
        return "together"
    return "in_turns" if devices.holds(max(dense, pruned)) else "block_by_block"


def weight_bytes(model: PreTrainedModel) -> int:
    """Bytes of the parameters as they are held in memory; tied ones count once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
