"""Sums over the entries of a matrix that is never whole in memory.

Legend: O output channels, I input channels; o, a chunk of O.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["l1", "l2"]
"""What is summed: |x|, or x²."""


def channel_sums(
    entries: Callable[[slice], Tensor], size: tuple[int, int], axis: Literal[0, 1], *, norm: Norm, chunk: int
) -> Tensor:
    """Sum over the entries of each channel on `axis`.

    Args:
        entries: gives some rows of the matrix, (o, I).
        size: (O, I).
        chunk: rows at once.
    Returns:
        (channels,).
    """
    outputs, _ = size
    order = 1 if norm == "l1" else 2
    parts = [slice(start, min(start + chunk, outputs)) for start in range(0, outputs, chunk)]
    lengths = [torch.linalg.vector_norm(entries(part), ord=order, dim=1 - axis) for part in parts]
    sums = lengths if norm == "l1" else [length.square() for length in lengths]
    return torch.cat(sums) if axis == 0 else torch.stack(sums).sum(dim=0)
