"""Which runtimes load a stock checkpoint of given widths, without custom code."""

from jobs.shapes import ModelShape
from jobs.widths import Widths

ALL = ("transformers", "vLLM", "llama.cpp")

HEADS_FILL_HIDDEN = ("phi3",)
"""Families whose conversion to GGUF takes the head size from hidden size and head count."""


def loading(shape: ModelShape, stored: Widths) -> tuple[str, ...]:
    """The runtimes that load these widths.

    Narrow layers that are padded with zeros count as wide ones: they load anywhere, and save nothing there.
    """
    fewer_heads = stored.kv_groups < shape.kv_heads
    if shape.family in HEADS_FILL_HIDDEN and fewer_heads:
        return tuple(name for name in ALL if name != "llama.cpp")
    return ALL
