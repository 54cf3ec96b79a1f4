"""How much of a matrix is worked on at once: memory grows with the chunk, not with the matrix."""

import torch

ENTRIES = {"cpu": 2**18, "cuda": 2**24}
"""Entries per chunk: on a CPU what stays in its cache, elsewhere what fills the device."""


def rows(columns: int, device: torch.device) -> int:
    """Rows per chunk of a matrix with so many columns."""
    return max(1, ENTRIES.get(device.type, ENTRIES["cuda"]) // columns)
