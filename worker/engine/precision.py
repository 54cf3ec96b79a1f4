"""How precisely is counted where tensors themselves are not precise."""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> torch.dtype:
    """The dtype to add up in: the tensor's own, but never one of 16 bits."""
    return torch.promote_types(tensor.dtype, torch.float32)
