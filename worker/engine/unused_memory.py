"""Giving back what allocators keep for the next tensor of the same size, when there will be none."""

import ctypes

import torch


def give_back() -> None:
    """Of the accelerator, and of the C library where that can (malloc_trim(3), of glibc alone)."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
