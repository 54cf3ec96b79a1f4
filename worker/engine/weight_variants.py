"""The result with weights in 8 or 4 bits, as compressed-tensors: what vLLM reads, and transformers too.

Made from the weights alone, each row or group scaled by its largest entry; no text is read for it.
"""

import shutil
from pathlib import Path

import torch
from compressed_tensors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    apply_quantization_config,
    preset_name_to_scheme,
)
from compressed_tensors.quantization.utils import calculate_qparams
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from jobs.formats import FORMS, Format

KEPT = ["lm_head"]
"""Stays as it is: of small models it is a large part, and what is chosen there shows most."""


def write(folder: Path, variant: Path, form: Format) -> None:
    """Write a whole repository to `variant`, from the stock one in `folder`."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=False).eval()
    scheme = preset_name_to_scheme(form.upper(), ["Linear"])
    if FORMS[form].block == 1 and scheme.weights is not None:  # one scale per row, so that any width will do
        scheme.weights = QuantizationArgs(num_bits=scheme.weights.num_bits, strategy="channel")
    packed = "pack-quantized" if scheme.input_activations is None else "int-quantized"
    config = QuantizationConfig(config_groups={"group_0": scheme}, ignore=KEPT, format=packed)
    apply_quantization_config(model, config)
    for module in model.modules():
        if getattr(module, "quantization_scheme", None) is not None:
            _scale(module)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(variant)
    compressor.update_config(variant)
    for name in ("tokenizer*", "special_tokens_map.json", "chat_template*", "generation_config.json", "LICENSE*"):
        for file in folder.glob(name):
            shutil.copyfile(file, variant / file.name)


def _scale(module: nn.Module) -> None:
    """Scales that the largest entry of each row, or of each group of a row, just fits."""
    weights: QuantizationArgs = module.quantization_scheme.weights  # type: ignore[union-attr]
    weight_OI: Tensor = module.weight.detach()  # type: ignore[operator]
    runs = weight_OI[:, None, :] if weights.group_size is None else weight_OI.unflatten(-1, (-1, weights.group_size))
    scale, _ = calculate_qparams(runs.amin(-1), runs.amax(-1), weights)
    with torch.no_grad():
        module.weight_scale.copy_(scale)  # type: ignore[operator]
