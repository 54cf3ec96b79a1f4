"""The forms in which a result can be written, and what each asks of a model."""

from dataclasses import dataclass
from typing import Literal, get_args

from jobs import errors
from jobs.fields import FieldError
from jobs.shapes import ModelShape

Format = Literal[
    "safetensors",
    "gguf_f16",
    "gguf_q8_0",
    "gguf_q4_k_m",
    "gguf_q5_k_m",
    "gguf_q6_k",
    "w8a8",
    "w8a16",
    "w4a16",
    "onnx",
]
FORMATS: tuple[Format, ...] = get_args(Format)

USUAL_MULTIPLE = 64
"""What FFN widths are multiples of where neither the request nor a format says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One format: where it lies in a result, who reads it, and the width of the blocks that it quantises by.

    The file of a quantised variant is that of a revision of its own, whose branch is the format's name.
    """

    file: str
    loads_in: tuple[str, ...]
    block: int = 1


_LLAMA_CPP = ("llama.cpp", "Ollama")
_VLLM = ("vLLM", "transformers with compressed-tensors")
FORMS: dict[Format, Form] = {
    "safetensors": Form(file="model.safetensors", loads_in=("transformers", "vLLM", "llama.cpp")),
    "gguf_f16": Form(file="model-F16.gguf", loads_in=_LLAMA_CPP),
    "gguf_q8_0": Form(file="model-Q8_0.gguf", loads_in=_LLAMA_CPP, block=32),
    "gguf_q4_k_m": Form(file="model-Q4_K_M.gguf", loads_in=_LLAMA_CPP, block=256),
    "gguf_q5_k_m": Form(file="model-Q5_K_M.gguf", loads_in=_LLAMA_CPP, block=256),
    "gguf_q6_k": Form(file="model-Q6_K.gguf", loads_in=_LLAMA_CPP, block=256),
    "w8a8": Form(file="model.safetensors", loads_in=_VLLM),
    "w8a16": Form(file="model.safetensors", loads_in=_VLLM),
    "w4a16": Form(file="model.safetensors", loads_in=_VLLM, block=128),
    "onnx": Form(file="onnx/model.onnx", loads_in=("onnxruntime",)),
}

GGUF_FAMILIES = ("llama", "granite", "mistral", "qwen2", "qwen3")
"""Families that we write GGUF files of."""

GGUF_SCALINGS = {"llama": ("default", "linear", "llama3"), "mistral": ("default", "linear", "llama3")}
"""The scalings of rotary frequencies that a GGUF file of the family can hold; only `default` of the others."""

ONNX_IMPOSSIBLE = ("dynamic", "longrope")
"""Scalings of rotary frequencies that depend on how long the text is: tracing follows no such choice."""


def ffn_multiple(formats: tuple[Format, ...]) -> int:
    """What FFN widths are to be multiples of, so that the rows of every format are whole blocks."""
    return max([USUAL_MULTIPLE, *(FORMS[name].block for name in formats)])


def is_gguf(name: Format) -> bool:
    """Whether llama.cpp reads it."""
    return name.startswith("gguf_")


def is_variant(name: Format) -> bool:
    """Whether it is a repository of its own: weights in fewer bits, as compressed-tensors."""
    return name in ("w8a8", "w8a16", "w4a16")


def check(shape: ModelShape, formats: tuple[Format, ...], multiple: int) -> None:
    """Refuse what a model of this shape, its FFN cut to multiples of `multiple`, cannot be written as.

    Raises:
        FormatImpossible: with the place of the format in the list.
    """
    for place, name in enumerate(formats):
        reason = _reason(shape, name, multiple)
        if reason:
            field = FieldError(pointer=f"/{place}", code=errors.FormatImpossible.code, detail=reason)
            raise errors.FormatImpossible(
                f"No {name} of this model: {reason}.", hint=f"Leave {name} out of output.formats.", errors=(field,)
            )


def _reason(shape: ModelShape, name: Format, multiple: int) -> str | None:
    if is_gguf(name):
        return _gguf_reason(shape)
    if name == "onnx":
        return _onnx_reason(shape)
    return _variant_reason(shape, name, multiple) if is_variant(name) else None


def _variant_reason(shape: ModelShape, name: Format, multiple: int) -> str | None:
    if shape.family == "gpt2":  # whose layers are no linear ones
        return "compressed-tensors knows no layers of a gpt2"
    block = FORMS[name].block
    for width, words in ((shape.hidden, "hidden size"), (shape.group * shape.head_dim, "KV group of query heads")):
        if width % block:
            return f"its {words} of {width} channels is no multiple of {block}, the size of a group of {name}"
    if multiple % block or shape.ffn % block:
        return f"FFN widths in multiples of {multiple}, out of {shape.ffn}, are not whole groups of {block}"
    return None


def _onnx_reason(shape: ModelShape) -> str | None:
    if shape.rotation in ONNX_IMPOSSIBLE:
        return f"its rotary frequencies are scaled by the length of the text ({shape.rotation}), which cannot be traced"
    return None


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
