"""GGUF files as base models: weights de-quantised to float32, tokenizer mended, written as a stock folder."""

from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from jobs import errors, gguf_headers

DIGIT_SPLITTERS = ("smollm", "starcoder", "refact")
"""Pre-tokenizers, by GGUF's name for them, that part digits; the conversion to a fast tokenizer forgets it."""


def convert(path: Path, folder: Path) -> None:
    """Write `folder` as `save_pretrained` would have, had the model come as float32 safetensors.

    Raises:
        BaseModelNotFound, BaseModelIncomplete, UnsupportedArchitecture
    """
    reader = _open(path)
    architecture = _text(reader, "general.architecture")
    scaling = _text(reader, f"{architecture}.rope.scaling.type")
    gguf_headers.check(architecture, scaling, [tensor.name for tensor in reader.tensors])
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, IndexError, NotImplementedError, RuntimeError) as error:
        raise errors.BaseModelIncomplete(
            f"{path.name} cannot be converted: {error}", hint="Name the folder with the safetensors weights instead."
        ) from error
    model, loading = loaded
    if missing := sorted(loading["missing_keys"]):  # they would be drawn at random
        raise errors.BaseModelIncomplete(
            f"{len(missing)} weights are missing in {path.name}, {missing[0]} among them.", hint="Copy the file again."
        )
    _without_quantisation(model).save_pretrained(folder)
    if _text(reader, "tokenizer.ggml.pre") in DIGIT_SPLITTERS:
        _part_digits(tokenizer.backend_tokenizer)
    tokenizer.save_pretrained(folder)


def licence(path: Path) -> str | None:
    """The licence that the file names."""
    return _text(_open(path), "general.license")


def _open(path: Path) -> GGUFReader:
    if not path.is_file():
        raise errors.BaseModelNotFound(f"There is no file {path}.")
    try:
        return GGUFReader(path)
    except (ValueError, IndexError) as error:
        raise errors.BaseModelIncomplete(f"{path.name} is not a whole GGUF file: {error}.") from error


def _text(reader: GGUFReader, key: str) -> str | None:
    field = reader.get_field(key)
    return None if field is None else str(field.contents())


def _without_quantisation(model: PreTrainedModel) -> PreTrainedModel:
    """The same model under a configuration that does not claim to be quantised, which could not be saved."""
    settings = model.config.to_dict()
    settings.pop("quantization_config", None)
    settings.pop("_name_or_path", None)
    config = type(model.config)(**settings)
    with torch.device("meta"):
        plain = type(model)(config)
    plain.load_state_dict(model.state_dict(), strict=True, assign=True)
    plain.tie_weights()
    return plain


def _part_digits(backend: Tokenizer) -> None:
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
    )
