"""Agreement between the processes of one training run, each of which sees another part of the text."""

from collections.abc import Sequence

import torch
from torch import Tensor, distributed


def summed(parts: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor summed over all processes, bit for bit the same on all of them, in one exchange.

    All must have one dtype and lie on one device.
    """
    if not _several():
        return list(parts)
    flat = torch.cat([part.flatten() for part in parts])
    distributed.all_reduce(flat)
    return _like(parts, flat)


def as_first(parts: Sequence[Tensor]) -> list[Tensor]:
    """What the first process holds, on all of them, so that rounding on different devices cannot part them."""
    if not _several():
        return list(parts)
    flat = torch.cat([part.flatten() for part in parts])
    distributed.broadcast(flat, src=0)
    return _like(parts, flat)


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _like(parts: Sequence[Tensor], flat: Tensor) -> list[Tensor]:
    pieces = flat.split([part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]
