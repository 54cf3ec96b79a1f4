"""The words in which each supported family's config.json gives its sizes, and what its class reads into words left out.

Read from the configuration classes of transformers 5; `tests/worker/engine/test_families.py` holds both against each
other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Bias = bool | tuple[str, bool]
"""Whether linear layers have a bias: always, never, or as a key of the configuration says (with its default)."""

HeadCounts = Literal["any", "divisors", "fixed"]
"""Head counts that stock classes can hold: any, those that divide the hidden size, or only the one that is there."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """One family's keys and defaults. Norms are counted in vectors of one block."""

    layers: str = "num_hidden_layers"
    hidden: str = "hidden_size"
    heads: str = "num_attention_heads"
    ffn: str = "intermediate_size"
    positions: str = "max_position_embeddings"
    longest: int  # positions, if not given
    grouped: bool = True  # knows KV heads and a head_dim of their own
    kv_heads: int | None = None  # if not given; None: as many as query heads
    head_dim: int | None = None  # if not given; None: hidden size / heads
    head_counts: HeadCounts = "any"
    tied: bool = False  # if not given
    gated: bool = True
    qkv_bias: Bias = False
    o_bias: Bias = False
    up_bias: Bias = False
    down_bias: Bias = False
    norms: int = 2
    head_norms: int = 0  # of head_dim, shared by the heads
    rotation: str = "default"  # how rotary frequencies are scaled where the configuration does not say
    norm_bias: bool = False
    position_rows: int | None = None  # learned positions: how many beyond the longest sequence

    @staticmethod
    def has_bias(config: Mapping[str, Any], bias: Bias) -> bool:
        """Whether a model of this configuration has it."""
        if isinstance(bias, bool):
            return bias
        key, default = bias
        return bool(config.get(key, default))


_ATTENTION_BIAS = ("attention_bias", False)
_LLAMA: dict[str, Any] = {"qkv_bias": _ATTENTION_BIAS, "o_bias": _ATTENTION_BIAS}
_LLAMA_FFN: dict[str, Any] = dict.fromkeys(("up_bias", "down_bias"), ("mlp_bias", False))
_GEMMA: dict[str, Any] = {**_LLAMA, "kv_heads": 4, "head_dim": 256, "head_counts": "divisors", "tied": True, "norms": 4}
_GLM: dict[str, Any] = {"longest": 131_072, "kv_heads": 2, "head_dim": 128, "qkv_bias": ("attention_bias", True)}
_CLASSIC: dict[str, Any] = {
    "grouped": False,
    "head_counts": "fixed",
    "gated": False,
    "qkv_bias": True,
    "o_bias": True,
    "up_bias": True,
    "down_bias": True,
    "norm_bias": True,
}
_OPT_BIAS: dict[str, Any] = dict.fromkeys(("qkv_bias", "o_bias", "up_bias", "down_bias"), ("enable_bias", True))
_NEOX_BIAS: dict[str, Any] = dict.fromkeys(("qkv_bias", "o_bias"), ("attention_bias", True))

FAMILIES: dict[str, Words] = {
    "llama": Words(longest=2_048, **_LLAMA, **_LLAMA_FFN),
    "granite": Words(longest=2_048, **_LLAMA, **_LLAMA_FFN),
    "mistral": Words(longest=131_072, kv_heads=8),
    "qwen2": Words(longest=32_768, kv_heads=32, qkv_bias=True),
    "qwen3": Words(longest=32_768, kv_heads=32, head_dim=128, **_LLAMA, head_norms=2),
    "glm": Words(**_GLM),
    "glm4": Words(**_GLM, norms=4),
    "phi3": Words(longest=4_096),
    "gemma2": Words(longest=8_192, **_GEMMA),
    "gemma3_text": Words(longest=131_072, **_GEMMA, head_norms=2, rotation="mixed"),
    "opt": Words(longest=2_048, ffn="ffn_dim", tied=True, position_rows=2, **(_CLASSIC | _OPT_BIAS)),
    "gpt_neox": Words(longest=2_048, **(_CLASSIC | _NEOX_BIAS)),
    "gpt2": Words(
        longest=1_024,
        layers="n_layer",
        hidden="n_embd",
        heads="n_head",
        ffn="n_inner",
        positions="n_positions",
        tied=True,
        position_rows=0,
        **_CLASSIC,
    ),
}
