"""The smaller model as a stock checkpoint: a configuration that every runtime knows, safetensors, tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from jobs import widths
from jobs.shapes import ModelShape
from worker.engine.plan import Plan

PER_LAYER = ("layer_types",)
"""Fields of a configuration that hold one entry per layer."""

LLAMA_ONLY = ("attention_bias", "mlp_bias", "pretraining_tp")


def stock_config(base: PreTrainedConfig, shape: ModelShape, plan: Plan) -> PreTrainedConfig:
    """The configuration of the smaller model; one whose layers differ is as wide as the widest (see `padding`).

    A Llama whose heads no longer divide its hidden size becomes a Mistral without sliding window: the same tensors and
    the same arithmetic, while LlamaConfig refuses such head counts.
    """
    kept = widths.widest(plan.layout)
    heads = kept.kv_groups * shape.group
    fields: dict[str, Any] = base.to_dict()
    fields |= {key: [fields[key][layer.index] for layer in plan.layers] for key in PER_LAYER if fields.get(key)}
    fields |= {
        "num_hidden_layers": len(plan.layers),
        "num_attention_heads": heads,
        "num_key_value_heads": kept.kv_groups,
        "head_dim": shape.head_dim,
        "intermediate_size": kept.ffn,
    }
    for key in ("_name_or_path", "transformers_version", "dtype"):
        fields.pop(key, None)
    if shape.family == "llama" and shape.hidden % heads:
        fields = {key: value for key, value in fields.items() if key not in LLAMA_ONLY}
        fields |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}
    config: PreTrainedConfig = AutoConfig.for_model(**fields)
    return config


def assemble(config: PreTrainedConfig, state: Mapping[str, Tensor]) -> PreTrainedModel:
    """A stock model around these very tensors: nothing is initialised, and every name and shape must fit."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    _materialise_buffers(model, config, next(iter(state.values())).device)
    return model.eval()


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


def _materialise_buffers(model: PreTrainedModel, config: PreTrainedConfig, device: torch.device) -> None:
    """Rotary frequencies are computed, not stored, so they are still on the meta device: build them for real."""
    rotary = model.get_submodule("model.rotary_emb")
    model.set_submodule("model.rotary_emb", type(rotary)(config=config).to(device))
