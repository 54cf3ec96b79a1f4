"""In which type each tensor of a GGUF file is held, and the rounding to it.

The mixtures are llama.cpp's: values and down projections of the layers that matter most, and the head, are held finer.
"""

import libgguf
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants
from numpy.typing import NDArray
from transformers import PreTrainedConfig

from jobs.formats import Format

Kind = GGMLQuantizationType

PLAIN: dict[str, Kind] = {
    "gguf_f16": Kind.F16,
    "gguf_q8_0": Kind.Q8_0,
    "gguf_q4_k_m": Kind.Q4_K,
    "gguf_q5_k_m": Kind.Q5_K,
    "gguf_q6_k": Kind.Q6_K,
}
INSTEAD = {Kind.Q4_K: Kind.Q5_0, Kind.Q5_K: Kind.Q5_1, Kind.Q6_K: Kind.Q8_0}
"""What takes the place of a type whose blocks do not fill a row."""

MIXED = {"gguf_q4_k_m": Kind.Q5_K, "gguf_q5_k_m": Kind.Q6_K}
"""The formats that hold some tensors finer, and how they hold queries, keys and values where these lie together."""


def of(form: Format, place: str, shape: tuple[int, ...], config: PreTrainedConfig) -> Kind:
    """The type of one tensor."""
    if len(shape) < 2:
        return Kind.F32
    kind = PLAIN[form]
    if form in MIXED and place.endswith("attn_qkv.weight"):
        kind = MIXED[form]
    elif form in MIXED and _is_finer(place, config):
        kind = Kind.Q6_K
    if shape[-1] % GGML_QUANT_SIZES[kind][0]:
        kind = INSTEAD.get(kind, kind)
    return kind if shape[-1] % GGML_QUANT_SIZES[kind][0] == 0 else Kind.F16


def _is_finer(place: str, config: PreTrainedConfig) -> bool:
    if place == "output.weight" or (place == "token_embd.weight" and config.tie_word_embeddings):
        return True
    if not place.endswith(("attn_v.weight", "ffn_down.weight")):
        return False
    layer, layers = int(place.split(".")[1]), config.num_hidden_layers
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def rounded(values: NDArray[np.float32], kind: Kind) -> NDArray[np.uint8]:
    """The bytes of a tensor held in `kind`."""
    if kind.name.endswith("_K"):
        return np.asarray(libgguf.quantize_rows(values, kind), dtype=np.uint8)
    rows: NDArray[np.generic] = quants.quantize(values, kind)
    return rows.view(np.uint8)
