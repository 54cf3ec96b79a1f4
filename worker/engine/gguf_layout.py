"""Where the tensors of a stock folder stand in a GGUF file, and what its header says of them."""

import re

import torch
from gguf import GGUFWriter
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from jobs import errors
from jobs.widths import Layout

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "granite": "granite", "qwen2": "qwen2", "qwen3": "qwen3"}
"""llama.cpp's name by `model_type`."""

LIKE_LLAMA = ("llama", "granite", "deci")
"""Architectures in which the two halves of a rotary head lie interleaved, and frequencies can have factors."""

FUSED: dict[str, tuple[str, ...]] = {"openelm": ("q_proj", "k_proj", "v_proj")}
"""By architecture, the projections that lie one after the other in one tensor."""

PARTS = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
_NAME = re.compile(r"(?:model\.)?(?:layers\.(\d+)\.)?(?:self_attn\.|mlp\.)?(\w+)\.(weight|bias)")


def architecture(config: PreTrainedConfig) -> str:
    """What llama.cpp calls a model of this configuration, whose layers are all alike.

    Raises:
        FormatImpossible: it has no name for it that we know.
    """
    name = ARCHITECTURES.get(config.model_type)
    if name is None:
        raise errors.FormatImpossible(f"No GGUF file of a {config.model_type}.", hint="Leave the gguf formats out.")
    return name


def place(architecture: str, name: str) -> str:
    """The tensor's name in a GGUF file, or that of the tensor that it is a part of."""
    found = _NAME.fullmatch(name)
    if found is None or found[2] not in PARTS:
        raise errors.FormatImpossible(f"A GGUF file has no place for {name}.", hint="Leave the gguf formats out.")
    layer, part, kind = found.groups()
    there = "attn_qkv" if part in FUSED.get(architecture, ()) else PARTS[part]
    return f"{'' if layer is None else f'blk.{layer}.'}{there}.{kind}"


def together(architecture: str, name: str) -> tuple[str, ...]:
    """The stock tensors that lie one after the other where this one is the first; none where it comes later."""
    fused, part = FUSED.get(architecture, ()), name.split(".")[-2]
    if part not in fused:
        return (name,)
    return tuple(name.replace(part, other) for other in fused) if part == fused[0] else ()


def apart(architecture: str, config: PreTrainedConfig, name: str, tensor: Tensor) -> Tensor:
    """The rows of one stock tensor among those that lie together."""
    fused, part = FUSED.get(architecture, ()), name.split(".")[-2]
    if part not in fused:
        return tensor
    group = config.num_attention_heads // config.num_key_value_heads
    rows = tensor.shape[0] // (group + 2)
    return tensor.split([group * rows, rows, rows])[fused.index(part)]


def turned(architecture: str, config: PreTrainedConfig, name: str, tensor: Tensor, *, back: bool = False) -> Tensor:
    """The tensor as llama.cpp holds it, or from there back.

    Under `LIKE_LLAMA` the two halves of a rotary head lie interleaved, row by row.
    """
    if architecture not in LIKE_LLAMA or name.split(".")[-2] not in ("q_proj", "k_proj"):
        return tensor
    heads = tensor.shape[0] // head_dim(config)
    halves = (heads, -1, 2) if back else (heads, 2, -1)
    return tensor.reshape(*halves, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def describe(writer: GGUFWriter, config: PreTrainedConfig, layout: Layout | None = None) -> None:
    """The sizes and constants of the model; lists of widths where layers differ."""
    writer.add_context_length(_context(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    if layout is None:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
    else:
        group = config.num_attention_heads // config.num_key_value_heads
        writer.add_feed_forward_length([layer.ffn for layer in layout])
        writer.add_head_count([layer.kv_groups * group for layer in layout])
        writer.add_head_count_kv([layer.kv_groups for layer in layout])
    # Never left out: llama.cpp would derive them from the head count, of the first layer where layers differ.
    writer.add_key_length(head_dim(config))
    writer.add_value_length(head_dim(config))
    writer.add_rope_dimension_count(head_dim(config))
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if writer.arch == "granite":
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_logit_scale(config.logits_scaling)


def head_dim(config: PreTrainedConfig) -> int:
    """Channels per head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _context(config: PreTrainedConfig) -> int:
    """The longest text on which llama.cpp, which knows no attention window here, computes what the model does."""
    window = getattr(config, "sliding_window", None)
    longest: int = config.max_position_embeddings
    return min(longest, window) if window and config.model_type == "mistral" else longest


def rotation_factors(architecture: str, config: PreTrainedConfig) -> Tensor | None:
    """What each rotary frequency is divided by, where some are scaled."""
    words = config.rope_parameters
    kind = words.get("rope_type", "default")
    if kind == "default":
        return None
    scaled, attention = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    if architecture not in LIKE_LLAMA or attention != 1.0 or kind == "dynamic":
        raise errors.FormatImpossible(
            f"A GGUF file of this model cannot hold {kind!r} rotary scaling.", hint="Leave the gguf formats out."
        )
    exponents = torch.arange(0, head_dim(config), 2, dtype=torch.float64) / head_dim(config)
    return (words["rope_theta"] ** -exponents / scaled.double()).float()
