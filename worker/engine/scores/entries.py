"""Sums over the entries of matrices that are never whole in memory.

Legend: O output channels, I input channels, U units; o, a chunk of O.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor

from jobs.shapes import ModelShape
from worker.engine.adapters import Adapted
from worker.engine.architectures import Member

Norm = Literal["l1", "l2", "sum"]
"""What is summed: |x|, x², or x itself."""

CHUNK = {"cpu": 2**16, "cuda": 2**24}
"""Entries worked on at once: what stays in the cache of a CPU's core, for each of its threads, or fills a device."""


def rows_at_once(columns: int, device: torch.device) -> int:
    """Rows per chunk of a matrix with so many columns: memory grows with the chunk, not with the matrix."""
    workers = torch.get_num_threads() if device.type == "cpu" else 1
    return max(1, workers * CHUNK.get(device.type, CHUNK["cuda"]) // columns)


def channel_sums(
    entries: Callable[[slice], Iterable[Tensor]],
    size: tuple[int, int],
    axis: Literal[0, 1],
    *,
    norm: Norm,
    chunk: int,
) -> Tensor:
    """Sum over the entries of each channel on `axis`, and over the matrices.

    Args:
        entries: gives some rows of each matrix, (o, I).
        size: (O, I).
        chunk: rows at once.
    Returns:
        (channels,).
    """
    outputs, inputs = size
    totals: Tensor | None = None
    for start in range(0, outputs, chunk):
        part = slice(start, min(start + chunk, outputs))
        for entries_oI in entries(part):
            sums = _sums(entries_oI, 1 - axis, norm)
            if totals is None:
                totals = sums.new_zeros(outputs if axis == 0 else inputs)
            # Added at once: partial sums that pile up would hold as much as the matrix.
            if axis == 0:
                totals[part] += sums
            else:
                totals += sums
    assert totals is not None
    return totals


def weight_sums(adapted: Adapted, axis: Literal[0, 1], *, norm: Norm) -> Tensor:
    """`channel_sums` of the effective weight itself."""
    chunk = rows_at_once(adapted.size[1], adapted.device)
    return channel_sums(lambda part: [adapted.rows(part)], adapted.size, axis, norm=norm, chunk=chunk)


def by_unit(channel_C: Tensor, member: Member, shape: ModelShape) -> Tensor:
    """(U,): the sum over the channels of each unit."""
    return torch.stack(by_part(channel_C, member, shape)).sum(dim=0)


def by_part(channel_C: Tensor, member: Member, shape: ModelShape) -> list[Tensor]:
    """The same for each part of a fused matrix by itself, (U,) each."""
    runs = member.runs(shape)
    count = len(channel_C) // sum(runs)
    parts = channel_C.split([count * run for run in runs])
    return [part.view(count, run).sum(dim=1) for part, run in zip(parts, runs, strict=True)]


def _sums(entries_oI: Tensor, along: int, norm: Norm) -> Tensor:
    # Not by `vector_norm`: down the columns, on a CPU, it takes ten times as long.
    match norm:
        case "l1":
            return entries_oI.abs().sum(dim=along)
        case "l2":
            return entries_oI.square().sum(dim=along)
        case "sum":
            return entries_oI.sum(dim=along)
