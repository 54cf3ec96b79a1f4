"""The forms in which a result can be written, and what each asks of a model."""

from dataclasses import dataclass
from typing import Literal, get_args

from jobs import errors
from jobs.fields import FieldError
from jobs.shapes import ModelShape

Format = Literal["safetensors", "gguf_f16", "gguf_q8_0", "gguf_q4_k_m", "gguf_q5_k_m", "gguf_q6_k"]
FORMATS: tuple[Format, ...] = get_args(Format)

USUAL_MULTIPLE = 64
"""What FFN widths are multiples of where neither the request nor a format says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One format: where it lies in a result, who reads it, and the width of the blocks that it quantises by."""

    file: str
    loads_in: tuple[str, ...]
    block: int = 1


_LLAMA_CPP = ("llama.cpp", "Ollama")
FORMS: dict[Format, Form] = {
    "safetensors": Form(file="model.safetensors", loads_in=("transformers", "vLLM", "llama.cpp")),
    "gguf_f16": Form(file="model-F16.gguf", loads_in=_LLAMA_CPP),
    "gguf_q8_0": Form(file="model-Q8_0.gguf", loads_in=_LLAMA_CPP, block=32),
    "gguf_q4_k_m": Form(file="model-Q4_K_M.gguf", loads_in=_LLAMA_CPP, block=256),
    "gguf_q5_k_m": Form(file="model-Q5_K_M.gguf", loads_in=_LLAMA_CPP, block=256),
    "gguf_q6_k": Form(file="model-Q6_K.gguf", loads_in=_LLAMA_CPP, block=256),
}

GGUF_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Families that we write GGUF files of."""

GGUF_SCALINGS = {"llama": ("default", "linear", "llama3"), "mistral": ("default", "linear", "llama3")}
"""The scalings of rotary frequencies that a GGUF file of the family can hold; only `default` of the others."""


def ffn_multiple(formats: tuple[Format, ...]) -> int:
    """What FFN widths are to be multiples of, so that the rows of every format are whole blocks."""
    return max([USUAL_MULTIPLE, *(FORMS[name].block for name in formats)])


def is_gguf(name: Format) -> bool:
    """Whether llama.cpp reads it."""
    return name.startswith("gguf_")


def check(shape: ModelShape, formats: tuple[Format, ...]) -> None:
    """Refuse what a model of this shape cannot be written as.

    Raises:
        FormatImpossible: with the place of the format in the list.
    """
    for place, name in enumerate(formats):
        reason = _gguf_reason(shape) if is_gguf(name) else None
        if reason:
            field = FieldError(pointer=f"/{place}", code=errors.FormatImpossible.code, detail=reason)
            raise errors.FormatImpossible(
                f"No {name} of this model: {reason}.", hint=f"Leave {name} out of output.formats.", errors=(field,)
            )


def _gguf_reason(shape: ModelShape) -> str | None:
    if shape.family not in GGUF_FAMILIES:
        return f"GGUF files are written of {', '.join(GGUF_FAMILIES)}, not of {shape.family}"
    if shape.rotation not in GGUF_SCALINGS.get(shape.family, ("default",)):
        return f"its rotary frequencies are scaled in a way ({shape.rotation}) that a GGUF file of it cannot hold"
    if shape.windowed:
        return "llama.cpp does not know its attention windows"
    if shape.family == "qwen2" and shape.head_dim * shape.heads != shape.hidden:
        return "llama.cpp takes the head size of a qwen2 from its hidden size"
    return None
