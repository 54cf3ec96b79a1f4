"""The smaller model as a stock checkpoint: a configuration that every runtime knows, safetensors, tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from jobs import widths
from jobs.families import FAMILIES
from jobs.shapes import ModelShape
from worker.engine.plan import Plan

NOT_OURS = ("_name_or_path", "transformers_version", "dtype", "auto_map", "quantization_config")
"""Fields that speak of the base model's files, or of code that does not come along."""

WINDOWS = ("sliding_window", "use_sliding_window", "max_window_layers", "layer_types")
HOSTS: dict[str, dict[str, Any]] = {
    "llama": {"architectures": ["LlamaForCausalLM"], "mlp_bias": False},
    "mistral": {"architectures": ["MistralForCausalLM"], "sliding_window": None},
    "granite": {
        "architectures": ["GraniteForCausalLM"],
        "mlp_bias": False,
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "logits_scaling": 1.0,
    },
}
"""What families that take in models of others are to be told, so that they compute what those did."""


def stock_config(base: PreTrainedConfig, shape: ModelShape, plan: Plan) -> PreTrainedConfig:
    """The configuration of the smaller model, in words of its own class or of its host (`ModelShape.host`).

    A host's class holds the same tensors and does the same arithmetic, where the own class refuses such head counts or
    runtimes misread them. Where layers differ, all are as wide as the widest (see `padding`).
    """
    words, kept = FAMILIES[shape.family], widths.stored(shape, plan.layout)
    heads = kept.kv_groups * shape.group
    fields: dict[str, Any] = {key: value for key, value in base.to_dict().items() if key not in NOT_OURS}
    fields |= {words.layers: len(plan.layers), words.ffn: kept.ffn}
    if words.grouped:
        fields |= {words.heads: heads, "num_key_value_heads": kept.kv_groups, "head_dim": shape.head_dim}
    if fields.get("layer_types"):
        fields["layer_types"] = [fields["layer_types"][layer.index] for layer in plan.layers]
    host = shape.host(heads)
    if host != shape.family:
        fields = _hosted(fields, shape, host)
    config: PreTrainedConfig = AutoConfig.for_model(**fields)
    return config


def _hosted(fields: dict[str, Any], shape: ModelShape, host: str) -> dict[str, Any]:
    told = {key: value for key, value in fields.items() if key not in WINDOWS and key != "pretraining_tp"}
    told = HOSTS[host] | told | {key: HOSTS[host][key] for key in ("architectures",)} | {"model_type": host}
    if host == "mistral":
        return {key: value for key, value in told.items() if key not in ("attention_bias", "mlp_bias")}
    if host == "granite":
        told["attention_multiplier"] = shape.head_dim**-0.5
    return told | {"attention_bias": shape.qkv_bias}


def assemble(config: PreTrainedConfig, state: Mapping[str, Tensor]) -> PreTrainedModel:
    """A stock model around these very tensors: nothing is initialised, and every name and shape must fit."""
    with init_empty_weights(include_buffers=False):  # buffers are computed, not stored
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    model.load_state_dict({**_host_padding(config, state), **state}, strict=True, assign=True)
    model.tie_weights()
    nn.Module.to(model, next(iter(state.values())).device)
    return model.eval()


def _host_padding(config: PreTrainedConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Llama and Granite have a bias on o where they have one on q; a Qwen2 hosted there has none, so it is zero."""
    if config.model_type not in HOSTS or not getattr(config, "attention_bias", False):
        return {}
    names = [f"model.layers.{index}.self_attn.o_proj" for index in range(config.num_hidden_layers)]
    return {f"{name}.bias": torch.zeros_like(state[f"{name}.weight"][:, 0]) for name in names}


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    generation: GenerationConfig | None,
    folder: Path,
    *,
    max_shard_bytes: int,
) -> None:
    """Write weights, configuration, generation defaults and tokenizer."""
    if generation is not None:
        model.generation_config = generation
    model.save_pretrained(folder, max_shard_size=max_shard_bytes)
    tokenizer.save_pretrained(folder)


def round_weights(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Hold the parameters in `dtype`. Buffers stay as they are: rotary frequencies must not lose bits."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
