"""The shape of a base model, read from its config.json alone, and what its units weigh."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jobs import errors
from jobs.families import FAMILIES, HeadCounts, Words

CAUSAL_LMS = ("ForCausalLM", "LMHeadModel")

# Far beyond any model. Whoever plans tries every number of heads, so an absurd one must not reach them.
MOST_HEADS = 4_096
MOST = 2**31

QUANTISED_BLOCK = 64
"""Weights side by side that share a scale where they are held in 8 or 4 bits."""


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Widths of a decoder whose blocks are all alike. Sizes are counts; `head_dim` is channels per head.

    `norms` are the parameters of one block that are in no linear layer, `outside` those in no block: embeddings,
    positions, the last norm, the head.
    """

    family: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    max_positions: int
    norms: int
    outside: int
    tied: bool = False
    gated: bool = True
    qkv_bias: bool = False
    o_bias: bool = False
    up_bias: bool = False
    down_bias: bool = False
    head_counts: HeadCounts = "any"
    windowed: bool = False  # some layers see only a window
    rotation: str = "default"  # how rotary frequencies are scaled
    dtype: str = "float32"  # of the weights as they are

    @property
    def group(self) -> int:
        """Query heads per KV head."""
        return self.heads // self.kv_heads

    @cached_property
    def kv_group_cost(self) -> int:
        """Parameters that go with one KV group of one layer: its rows of q, k, v and its columns of o."""
        channels = (2 * self.group + 2) * self.head_dim
        biases = (self.group + 2) * self.head_dim if self.qkv_bias else 0
        return channels * self.hidden + biases

    @cached_property
    def ffn_channel_cost(self) -> int:
        """Parameters that go with one FFN channel of one layer: a row of up (and gate), a column of down."""
        rows = 2 if self.gated else 1
        return (rows + 1) * self.hidden + (rows if self.up_bias else 0)

    @cached_property
    def layer_cost(self) -> int:
        """Parameters of the linear layers of one block."""
        output_biases = self.hidden * (int(self.o_bias) + int(self.down_bias))
        return self.kv_heads * self.kv_group_cost + self.ffn * self.ffn_channel_cost + output_biases

    @property
    def block_parameters(self) -> int:
        """Parameters of the linear layers of all blocks: what a ratio is a ratio of."""
        return self.layers * self.layer_cost

    @property
    def parameters(self) -> int:
        """All parameters; tied embeddings count once."""
        return self.block_parameters + self.layers * self.norms + self.outside

    def host(self, heads: int) -> str:
        """The family whose stock class holds these tensors with so many query heads in every layer.

        LlamaConfig refuses head counts that do not divide the hidden size; MistralConfig takes them but knows no
        biases, GraniteConfig does. Qwen2 itself takes any, but most runtimes then read it wrongly.
        """
        divides = self.hidden % heads == 0
        if self.family == "qwen2" and heads != self.heads and not self.windowed:
            return "llama" if divides else "granite"
        if self.family == "llama" and not divides:
            return "granite" if self.qkv_bias or self.up_bias else "mistral"
        return self.family

    def host_padding(self, heads: int) -> int:
        """Parameters, all zero, that one layer has more of in its host: Llama and Granite want a bias on o too."""
        return self.hidden if self.host(heads) != self.family and self.qkv_bias and not self.o_bias else 0

    def holds(self, heads: int) -> bool:
        """Whether stock classes can hold so many query heads per layer."""
        match self.head_counts:
            case "any":
                return True
            case "divisors":
                return self.hidden % heads == 0
            case "fixed":
                return heads == self.heads


def read(config: Mapping[str, Any]) -> ModelShape:
    """The shape that a config.json describes.

    Raises:
        NotACausalLM: another task, or an encoder.
        UnsupportedArchitecture: another family, quantised weights, or a field that makes no sense.
    """
    _refuse_other_tasks(config)
    family = config.get("model_type")
    if family not in FAMILIES:
        raise errors.UnsupportedArchitecture(
            f"model_type {family!r} is not supported.", hint=f"Supported: {', '.join(FAMILIES)}."
        )
    if config.get("quantization_config"):
        raise errors.UnsupportedArchitecture(
            "The weights are quantised.", hint="Name the repository with the original 16- or 32-bit weights, or a GGUF."
        )
    _refuse_variants(config)
    return _shape(config, family, FAMILIES[family])


def _shape(config: Mapping[str, Any], family: str, words: Words) -> ModelShape:
    hidden, heads = _count(config, words.hidden), _count(config, words.heads, most=MOST_HEADS)
    kv_heads = _count(config, "num_key_value_heads", words.kv_heads, heads) if words.grouped else heads
    head_dim = _count(config, "head_dim", words.head_dim, hidden // heads) if words.grouped else hidden // heads
    if heads % kv_heads:
        raise errors.UnsupportedArchitecture(f"{heads} query heads cannot share {kv_heads} KV heads evenly.")
    if hidden % heads and (not words.grouped or words.head_counts == "divisors"):
        raise errors.UnsupportedArchitecture(f"{heads} heads do not divide a hidden size of {hidden}.")
    norm = _norm(config, hidden, words)
    return ModelShape(
        family=family,
        layers=_count(config, words.layers),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=_count(config, words.ffn, None, 4 * hidden if words.ffn == "n_inner" else None),
        vocab=_count(config, "vocab_size"),
        max_positions=_count(config, words.positions, words.longest, words.longest),
        norms=words.norms * norm + words.head_norms * head_dim,
        outside=_outside(config, hidden, words) + (norm if _has_last_norm(config) else 0),
        tied=_tied(config, words),
        gated=words.gated,
        qkv_bias=words.has_bias(config, words.qkv_bias),
        o_bias=words.has_bias(config, words.o_bias),
        up_bias=words.has_bias(config, words.up_bias),
        down_bias=words.has_bias(config, words.down_bias),
        head_counts="fixed" if _has_rotation_factors(config) else words.head_counts,
        windowed=bool(config.get("use_sliding_window")),
        rotation=_rotation(config, words),
        dtype=str(config.get("dtype") or config.get("torch_dtype") or "float32"),
    )


def _tied(config: Mapping[str, Any], words: Words) -> bool:
    return bool(config.get("tie_word_embeddings", words.tied))


def _norm(config: Mapping[str, Any], hidden: int, words: Words) -> int:
    if not config.get("layer_norm_elementwise_affine", True):  # OPT's
        return 0
    return 2 * hidden if words.norm_bias else hidden


def _has_last_norm(config: Mapping[str, Any]) -> bool:
    """Every family has one, but for an OPT that normalises after each part."""
    return bool(config.get("do_layer_norm_before", True)) and not config.get("_remove_final_layer_norm", False)


def _outside(config: Mapping[str, Any], hidden: int, words: Words) -> int:
    """Embeddings, head and learned positions; OPT's embeddings may be narrower and then have projections."""
    width = _count(config, "word_embed_proj_dim", hidden, hidden)
    embeddings = _count(config, "vocab_size") * width * (1 if _tied(config, words) else 2)
    projections = 2 * width * hidden if width != hidden else 0
    if words.position_rows is None:
        return embeddings + projections
    rows = _count(config, words.positions, words.longest, words.longest) + words.position_rows
    return embeddings + projections + rows * hidden


def _rotation(config: Mapping[str, Any], words: Words) -> str:
    """How rotary frequencies are scaled, `mixed` where not all layers do it alike."""
    said = config.get("rope_parameters") or config.get("rope_scaling") or {}
    is_mixed = any(isinstance(value, Mapping) for value in said.values())
    return "mixed" if is_mixed else str(said.get("rope_type") or said.get("type") or words.rotation)


def _has_rotation_factors(config: Mapping[str, Any]) -> bool:
    """Phi3Config wants one factor per hidden size / heads / 2 frequencies, so the heads must stay as they are."""
    rotation = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return config.get("model_type") == "phi3" and isinstance(rotation, Mapping) and "short_factor" in rotation


def check_scope(shape: ModelShape, scope: Collection[str]) -> None:
    """Raises ScopeImpossible if no stock class could hold a model of this family without these units."""
    if "attention_heads" in scope and shape.head_counts == "fixed":
        raise errors.ScopeImpossible(
            f"No stock class holds a {shape.family} of this kind with fewer attention heads.",
            hint='Ask for scope ["mlp_channels"].',
        )


def check_sequence_length(shape: ModelShape, length: int) -> None:
    """Raises SequenceTooLong if the model was not made for so many tokens."""
    if length > shape.max_positions:
        raise errors.SequenceTooLong(
            f"A sequence length of {length} tokens is beyond the model's {shape.max_positions}.",
            hint=f"Ask for at most {shape.max_positions}.",
        )


def check_base_held(shape: ModelShape, precision: str, *, sharded: bool = False) -> None:
    """Raises BasePrecisionImpossible if the frozen weights cannot be held so; units lie across the hidden channels."""
    if shape.family == "gpt2" and (precision != "full" or sharded):  # whose layers are no linear ones
        raise errors.BasePrecisionImpossible(
            f"No weights of a GPT-2 {'are sharded' if sharded else f'in {precision}'}.",
            hint="Leave shard_base out." if sharded else "Ask for base_precision 'full'.",
        )
    if precision != "full" and shape.hidden % QUANTISED_BLOCK:
        raise errors.BasePrecisionImpossible(
            f"A hidden size of {shape.hidden} is no multiple of {QUANTISED_BLOCK}: no weights in {precision}.",
            hint="Ask for base_precision 'full'.",
        )


def _refuse_other_tasks(config: Mapping[str, Any]) -> None:
    architectures = config.get("architectures") or []
    if parts := [key for key in ("vision_config", "audio_config", "text_config") if config.get(key)]:
        raise errors.NotACausalLM(
            f"This is a multi-modal model (its config.json has a {parts[0]}).",
            hint="Name a text-only checkpoint; of Gemma 3 the 270M and 1B are (model_type gemma3_text).",
        )
    if architectures and not any(str(name).endswith(CAUSAL_LMS) for name in architectures):
        raise errors.NotACausalLM(
            f"{architectures[0]} is not a causal language model.", hint="Name a model of a ...ForCausalLM class."
        )
    if config.get("is_encoder_decoder"):
        raise errors.NotACausalLM("An encoder-decoder is not a causal language model.")


def _refuse_variants(config: Mapping[str, Any]) -> None:
    """What a family's class can also be, and we cannot cut without changing what it does."""
    if config.get("use_bidirectional_attention"):
        raise errors.NotACausalLM("Its attention sees what follows (use_bidirectional_attention).")
    for key in ("add_cross_attention", "scale_attn_by_inverse_layer_idx"):
        if config.get(key):
            raise errors.UnsupportedArchitecture(f"config.json: {key} is not supported.")


def _count(
    config: Mapping[str, Any], key: str, default: int | None = None, null: int | None = None, *, most: int = MOST
) -> int:
    """A size; `default` stands for a missing key, `null` for one that says null."""
    value = config.get(key, default)
    value = null if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise errors.UnsupportedArchitecture(f"config.json: {key} is {value!r}; an integer from 1 to {most} is needed.")
    return value
