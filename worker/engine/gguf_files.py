"""A stock folder as a GGUF file, written tensor by tensor; and the weights of such a file under their stock names."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType, quants
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig

from jobs.formats import Format
from jobs.uneven import Uneven
from jobs.widths import Widths
from worker.engine import gguf_layout, gguf_precisions, gguf_tokenizers, padding
from worker.engine.architectures import LLAMA

FREQUENCIES = "rope_freqs.weight"
FILE_TYPES: dict[str, LlamaFileType] = {
    "gguf_f16": LlamaFileType.MOSTLY_F16,
    "gguf_q8_0": LlamaFileType.MOSTLY_Q8_0,
    "gguf_q4_k_m": LlamaFileType.MOSTLY_Q4_K_M,
    "gguf_q5_k_m": LlamaFileType.MOSTLY_Q5_K_M,
    "gguf_q6_k": LlamaFileType.MOSTLY_Q6_K,
}


def write(
    folder: Path, path: Path, form: Format, *, name: str, licence: str | None, uneven: Uneven | None = None
) -> None:
    """Write the model in `folder` to `path`. At most one tensor is in memory at a time.

    Args:
        uneven: how narrow layers are held without the zeros that pad them in `folder`.
    Raises:
        FormatImpossible: a GGUF file cannot hold it.
        VerificationFailed: layers are wider than `uneven` says.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    writer = GGUFWriter(path, uneven.architecture if uneven else gguf_layout.architecture(config))
    writer.add_name(name)
    if licence is not None:
        writer.add_license(licence)
    writer.add_file_type(FILE_TYPES[form])
    gguf_layout.describe(writer, config, uneven.layout if uneven else None)
    gguf_tokenizers.describe(writer, AutoTokenizer.from_pretrained(folder, trust_remote_code=False), config.vocab_size)
    shapes = {place: tuple(tensor.shape) for place, tensor in _tensors(folder, config, uneven)}
    kinds = {place: gguf_precisions.of(form, place, shape, config) for place, shape in shapes.items()}
    for place, shape in shapes.items():
        bytes_shape = quants.quant_shape_to_byte_shape(shape, kinds[place])
        writer.add_tensor_info(place, bytes_shape, np.dtype(np.uint8), int(np.prod(bytes_shape)), kinds[place])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for place, tensor in _tensors(folder, config, uneven):
        writer.write_tensor_data(gguf_precisions.rounded(tensor.float().numpy(), kinds[place]))
    writer.close()


def _tensors(folder: Path, config: PreTrainedConfig, uneven: Uneven | None) -> Iterator[tuple[str, Tensor]]:
    """By their names in the file, as llama.cpp holds them."""
    architecture = uneven.architecture if uneven else gguf_layout.architecture(config)
    stored = Widths(config.num_key_value_heads, config.intermediate_size)
    factors = gguf_layout.rotation_factors(architecture, config)
    if factors is not None:
        yield FREQUENCIES, factors
    files = _files(folder)
    for first in files:
        if first == "lm_head.weight" and config.tie_word_embeddings:
            continue
        parts: list[Tensor] = []
        for name in gguf_layout.together(architecture, first):
            with safe_open(files[name], framework="pt") as opened:
                tensor = opened.get_tensor(name)
            if uneven:
                tensor = padding.narrowed(name, tensor, LLAMA, stored, uneven.layout)
            parts.append(gguf_layout.turned(architecture, config, name, tensor))
        if parts:
            yield gguf_layout.place(architecture, first), parts[0] if len(parts) == 1 else torch.cat(parts)


def _files(folder: Path) -> dict[str, Path]:
    """Where each stock tensor lies."""
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            found |= dict.fromkeys(opened.keys(), file)
    return found


def architecture(path: Path) -> str:
    """What llama.cpp takes the file for."""
    return _architecture(GGUFReader(path))


def _architecture(reader: GGUFReader) -> str:
    field = reader.get_field("general.architecture")
    assert field is not None
    return str(field.contents())


def weights(path: Path, config: PreTrainedConfig, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the file holds, in float32, under the stock model's names; narrow layers padded to the shapes of `like`."""
    reader = GGUFReader(path)
    held_as = _architecture(reader)
    found = {tensor.name: tensor for tensor in reader.tensors}
    state: dict[str, Tensor] = {}
    for name, stock in like.items():
        place = gguf_layout.place(held_as, name)
        if name == "lm_head.weight" and place not in found:
            place = gguf_layout.place(held_as, "model.embed_tokens.weight")
        tensor = found[place]
        values = _exact(tensor.data, tensor.tensor_type).reshape(tuple(int(size) for size in reversed(tensor.shape)))
        rows = gguf_layout.apart(held_as, config, name, torch.from_numpy(values.copy()))
        state[name] = padding.filled(gguf_layout.turned(held_as, config, name, rows, back=True), stock.shape)
    return state


def _exact(data: NDArray[np.uint8], kind: GGMLQuantizationType) -> NDArray[np.float32]:
    values: NDArray[np.float32] = quants.dequantize(data, kind)
    return values
