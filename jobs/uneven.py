"""Layers of different widths without padding: in which architecture of llama.cpp every layer has widths of its own."""

from dataclasses import dataclass

from jobs.shapes import ModelShape
from jobs.widths import Layout

ARCHITECTURES = {"llama": "deci", "mistral": "deci", "qwen2": "deci", "qwen3": "openelm"}
"""By family: what computes the same as the family's own architecture, which takes one width for all layers."""

NAMES = frozenset(ARCHITECTURES.values())

LOADS_IN = ("llama.cpp",)
"""Who reads such a file; others that run llama.cpp read the header themselves, and may not expect a list in it."""


@dataclass(frozen=True)
class Uneven:
    """What llama.cpp calls a model whose layers differ, and what each of them keeps."""

    architecture: str
    layout: Layout


def architecture(shape: ModelShape) -> str | None:
    """The architecture for models of this kind whose layers differ; None if none computes the same.

    An `openelm` has no head of its own, and no biases.
    """
    if shape.family == "qwen3" and not (shape.tied and not shape.qkv_bias):
        return None
    return ARCHITECTURES.get(shape.family)


def held(shape: ModelShape, layout: Layout) -> Uneven | None:
    """How a GGUF file holds `layout` without padding; None where all layers are alike, or none can."""
    name = architecture(shape)
    return None if name is None or len(set(layout)) == 1 else Uneven(name, layout)
