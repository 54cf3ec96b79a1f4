"""The shape of a base model, read from its config.json and file list alone, and what its units weigh."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from jobs import errors

FAMILIES = ("llama", "mistral")

# Far beyond any model. Whoever plans tries every number of heads, so an absurd one must not reach them.
MOST_HEADS = 4_096
MOST = 2**31

QUANTISED_BLOCK = 64
"""Weights side by side that share a scale where they are held in 8 or 4 bits."""

PICKLE_PATTERNS = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Widths of a decoder whose blocks are all alike. Sizes are counts; `head_dim` is channels per head."""

    family: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    max_positions: int
    tied: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False

    @property
    def group(self) -> int:
        """Query heads per KV head."""
        return self.heads // self.kv_heads

    @property
    def kv_group_cost(self) -> int:
        """Parameters that go with one KV group of one layer: its rows of q, k, v and its columns of o."""
        channels = (2 * self.group + 2) * self.head_dim
        biases = (self.group + 2) * self.head_dim if self.attention_bias else 0
        return channels * self.hidden + biases

    @property
    def ffn_channel_cost(self) -> int:
        """Parameters that go with one FFN channel of one layer: a row of gate and up, a column of down."""
        return 3 * self.hidden + (2 if self.mlp_bias else 0)

    @property
    def block_parameters(self) -> int:
        """Parameters of the linear layers of all blocks: what a ratio is a ratio of."""
        output_biases = self.hidden * (int(self.attention_bias) + int(self.mlp_bias))
        units = self.kv_heads * self.kv_group_cost + self.ffn * self.ffn_channel_cost
        return self.layers * (units + output_biases)

    @property
    def parameters(self) -> int:
        """All parameters; tied embeddings count once."""
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        norms = (2 * self.layers + 1) * self.hidden
        return self.block_parameters + embeddings + norms


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
    heads = _count(config, "num_attention_heads", most=MOST_HEADS)
    hidden = _count(config, "hidden_size")
    kv_heads = _count(config, "num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise errors.UnsupportedArchitecture(f"{heads} query heads cannot share {kv_heads} KV heads evenly.")
    return ModelShape(
        family=family,
        layers=_count(config, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=_count(config, "head_dim", default=hidden // heads),
        ffn=_count(config, "intermediate_size"),
        vocab=_count(config, "vocab_size"),
        max_positions=_count(config, "max_position_embeddings", default=2048),
        tied=bool(config.get("tie_word_embeddings", False)),
        attention_bias=bool(config.get("attention_bias", False)),
        mlp_bias=bool(config.get("mlp_bias", False)),
    )


def check_files(names: Iterable[str]) -> None:
    """A model folder needs config.json and safetensors weights.

    Raises:
        BaseModelIncomplete: one of them is missing.
        PickleWeights: there are weights, but as pickle only.
    """
    names = list(names)
    if "config.json" not in names:
        raise errors.BaseModelIncomplete(
            "There is no config.json.", hint="Name the folder that `save_pretrained` wrote, or a .gguf file."
        )
    if any(fnmatch(name, "model*.safetensors") for name in names):
        return
    pickles = sorted(filter(is_pickle, names))
    if pickles:
        raise errors.PickleWeights(
            f"The weights exist as pickle only ({pickles[0]}), and reading a pickle can run any code.",
            hint="Save the model again with safetensors: model.save_pretrained(folder).",
        )
    raise errors.BaseModelIncomplete("There are no weights (model*.safetensors) beside config.json.")


def is_pickle(name: str) -> bool:
    """Whether a file of this name holds pickled weights."""
    return any(fnmatch(name, pattern) for pattern in PICKLE_PATTERNS)


def check_sequence_length(shape: ModelShape, length: int) -> None:
    """Raises SequenceTooLong if the model was not made for so many tokens."""
    if length > shape.max_positions:
        raise errors.SequenceTooLong(
            f"A sequence length of {length} tokens is beyond the model's {shape.max_positions}.",
            hint=f"Ask for at most {shape.max_positions}.",
        )


def check_base_precision(shape: ModelShape, precision: str) -> None:
    """Raises BasePrecisionImpossible if the frozen weights cannot be held so; units lie across the hidden channels."""
    if precision != "full" and shape.hidden % QUANTISED_BLOCK:
        raise errors.BasePrecisionImpossible(
            f"A hidden size of {shape.hidden} is no multiple of {QUANTISED_BLOCK}: no weights in {precision}.",
            hint="Ask for base_precision 'full'.",
        )


def _refuse_other_tasks(config: Mapping[str, Any]) -> None:
    architectures = config.get("architectures") or []
    if architectures and not any(str(name).endswith("ForCausalLM") for name in architectures):
        raise errors.NotACausalLM(
            f"{architectures[0]} is not a causal language model.", hint="Name a model of a ...ForCausalLM class."
        )
    if config.get("is_encoder_decoder"):
        raise errors.NotACausalLM("An encoder-decoder is not a causal language model.")


def _count(config: Mapping[str, Any], key: str, default: int | None = None, most: int = MOST) -> int:
    value = config.get(key)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise errors.UnsupportedArchitecture(f"config.json: {key} is {value!r}; an integer from 1 to {most} is needed.")
    return value
