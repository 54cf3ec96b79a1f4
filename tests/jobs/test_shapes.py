"""What is read from a config.json, and what is refused with its reason."""

from typing import Any

import pytest

from jobs import errors, shapes

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 200,
    "vocab_size": 100,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "attention_bias": True,
}


def test_a_shape_says_what_the_config_says() -> None:
    shape = shapes.read(CONFIG)
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads) == (3, 96, 8, 2)
    assert (shape.head_dim, shape.ffn, shape.vocab, shape.max_positions) == (16, 200, 100, 512)
    assert (shape.group, shape.tied, shape.qkv_bias, shape.o_bias, shape.up_bias) == (4, True, True, True, False)


def test_what_a_config_may_leave_out_has_the_meaning_of_its_class() -> None:
    optional = ("num_key_value_heads", "head_dim", "architectures", "tie_word_embeddings", "attention_bias")
    shape = shapes.read({key: value for key, value in CONFIG.items() if key not in optional})
    assert (shape.kv_heads, shape.head_dim, shape.tied, shape.qkv_bias) == (8, 12, False, False)
    assert shapes.read(CONFIG | {"head_dim": None}).head_dim == 12


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"architectures": ["BertForMaskedLM"]}, errors.NotACausalLM),
        ({"architectures": ["LlamaForSequenceClassification"]}, errors.NotACausalLM),
        ({"is_encoder_decoder": True}, errors.NotACausalLM),
        ({"model_type": "falcon"}, errors.UnsupportedArchitecture),
        ({"model_type": None}, errors.UnsupportedArchitecture),
        ({"vision_config": {"hidden_size": 8}}, errors.NotACausalLM),
        ({"model_type": "gemma2", "use_bidirectional_attention": True}, errors.NotACausalLM),
        ({"model_type": "gemma2", "num_attention_heads": 10}, errors.UnsupportedArchitecture),
        ({"scale_attn_by_inverse_layer_idx": True}, errors.UnsupportedArchitecture),
        ({"quantization_config": {"bits": 4}}, errors.UnsupportedArchitecture),
        ({"num_key_value_heads": 3}, errors.UnsupportedArchitecture),
        *(
            ({key: value}, errors.UnsupportedArchitecture)
            for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
            for value in (0, -1, 1.5, True, "64", None, 2**32)
        ),
    ],
)
def test_what_cannot_be_compressed_is_refused_with_its_reason(change: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        shapes.read(CONFIG | change)


def test_a_mistral_that_does_not_name_its_kv_heads_has_eight() -> None:
    config = {key: value for key, value in CONFIG.items() if key != "num_key_value_heads"}
    mistral = config | {"model_type": "mistral", "num_attention_heads": 16}
    assert shapes.read(mistral).kv_heads == 8
    assert shapes.read(mistral | {"num_key_value_heads": None}).kv_heads == 16
    assert shapes.read(config | {"num_attention_heads": 16}).kv_heads == 16


@pytest.mark.parametrize(
    ("change", "hosts"),
    [
        # 96 channels; heads of which 8 divide that, and 10 do not
        ({"attention_bias": False}, {8: "llama", 10: "mistral"}),
        ({"attention_bias": True}, {8: "llama", 10: "granite"}),
        ({"attention_bias": False, "mlp_bias": True}, {10: "granite"}),
        ({"model_type": "mistral"}, {8: "mistral", 10: "mistral"}),
        ({"model_type": "qwen2", "num_attention_heads": 12}, {12: "qwen2", 8: "llama", 10: "granite"}),
        ({"model_type": "qwen2", "num_attention_heads": 12, "use_sliding_window": True}, {8: "qwen2", 10: "qwen2"}),
        ({"model_type": "qwen3"}, {10: "qwen3"}),
    ],
)
def test_a_host_is_found_for_head_counts_that_the_own_class_refuses(
    change: dict[str, Any], hosts: dict[int, str]
) -> None:
    shape = shapes.read(CONFIG | change)
    assert {heads: shape.host(heads) for heads in hosts} == hosts
    assert all(shape.holds(heads) for heads in hosts)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gpt_neox"},
        {"model_type": "opt", "ffn_dim": 200},
        {"model_type": "gpt2", "n_layer": 3, "n_embd": 96, "n_head": 8},
        {"model_type": "phi3", "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 6}},
    ],
)
def test_heads_that_no_stock_class_can_do_without_are_out_of_scope(change: dict[str, Any]) -> None:
    shape = shapes.read(CONFIG | change)
    shapes.check_scope(shape, ["mlp_channels"])
    with pytest.raises(errors.ScopeImpossible, match="mlp_channels"):
        shapes.check_scope(shape, ["attention_heads", "mlp_channels"])
    assert [shape.holds(heads) for heads in (4, 8)] == [False, True]


def test_a_sequence_may_be_as_long_as_the_model_was_made_for() -> None:
    shape = shapes.read(CONFIG)
    shapes.check_sequence_length(shape, 512)
    with pytest.raises(errors.SequenceTooLong, match="513"):
        shapes.check_sequence_length(shape, 513)


def test_layers_that_are_no_linear_ones_are_not_sharded() -> None:
    shapes.check_base_held(shapes.read(CONFIG), "full", sharded=True)
    gpt2 = CONFIG | {"model_type": "gpt2", "n_layer": 3, "n_embd": 128, "n_head": 8}
    with pytest.raises(errors.BasePrecisionImpossible, match="GPT-2 are sharded") as refused:
        shapes.check_base_held(shapes.read(gpt2), "full", sharded=True)
    assert "shard_base" in refused.value.hint


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_weights_that_cannot_be_held_in_few_bits_are_refused(precision: str) -> None:
    shapes.check_base_held(shapes.read(CONFIG | {"hidden_size": 128}), precision)
    with pytest.raises(errors.BasePrecisionImpossible, match=f"GPT-2 in {precision}"):
        shapes.check_base_held(
            shapes.read(CONFIG | {"model_type": "gpt2", "n_layer": 3, "n_embd": 128, "n_head": 8}), precision
        )
