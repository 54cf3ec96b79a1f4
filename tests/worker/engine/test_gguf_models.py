"""A GGUF file becomes the folder that it was made from: the same answers, the same tokens."""

import json
import re
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter, TokenType
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from jobs import errors
from jobs.sources import GgufModel
from tests.models import byte_tokenizer, random_model
from worker.engine import base_models

NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


def write(
    path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    architecture: str = "llama",
    *,
    scaled: bool = False,
    without: str = "nothing",
) -> Path:
    """The model as llama.cpp's converter would write it, in float32."""
    config = model.config
    writer = GGUFWriter(path, architecture)
    writer.add_license("apache-2.0")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, tokenizer)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" or without in name:  # tied
            continue
        *_, part, _ = name.split(".")
        layer = re.search(r"layers\.(\d+)\.", name)
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(part)
        if heads:  # llama.cpp interleaves the halves of a rotary head
            tensor = tensor.view(heads, 2, -1, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)
        prefix = f"blk.{layer[1]}." if layer else ""
        writer.add_tensor(f"{prefix}{NAMES[part]}.weight", tensor.contiguous().numpy())
    if scaled:
        writer.add_tensor("rope_freqs.weight", torch.full((config.head_dim // 2,), 8.0).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerFast) -> None:
    state = tokenizer.backend_tokenizer.to_str()
    merges = [" ".join(pair) for pair in json.loads(state)["model"]["merges"]]
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([TokenType.CONTROL if token == "<|end|>" else TokenType.NORMAL for token, _ in vocabulary])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_bos_token_id(tokenizer.eos_token_id)


@pytest.fixture(scope="module")
def original() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = byte_tokenizer()
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
    )
    model, _ = random_model(vocab_size=len(tokenizer), rms_norm_eps=1e-5)
    return model, tokenizer


def test_the_converted_folder_answers_and_reads_like_the_original(
    original: tuple[PreTrainedModel, PreTrainedTokenizerFast], tmp_path: Path
) -> None:
    model, tokenizer = original
    path = write(tmp_path / "tiny.gguf", model, tokenizer)

    base = base_models.prepare(GgufModel(source="gguf", path=str(path)), tmp_path / "work")

    assert base.licence == "apache-2.0"
    ids_BT = torch.randint(len(tokenizer), (2, 24))
    loaded = AutoModelForCausalLM.from_pretrained(base.folder)
    assert "quantization_config" not in loaded.config.to_dict()
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids_BT).logits, model(ids_BT).logits, rtol=1e-5, atol=1e-5)
    text = "In 1984 there were 25 of them,\n  def f(x): return x + 10"
    assert AutoTokenizer.from_pretrained(base.folder)(text).input_ids == tokenizer(text).input_ids


def test_what_is_no_llama_or_no_gguf_is_refused_by_name(
    original: tuple[PreTrainedModel, PreTrainedTokenizerFast], tmp_path: Path
) -> None:
    other = write(tmp_path / "other.gguf", *original, architecture="mamba")
    scaled = write(tmp_path / "scaled.gguf", *original, scaled=True)
    partial = write(tmp_path / "partial.gguf", *original, without="0.mlp.down_proj")
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(other.read_bytes()[:2000])
    text = tmp_path / "text.gguf"
    text.write_text("not a model")
    for path, error in [
        (other, errors.UnsupportedArchitecture),
        (scaled, errors.UnsupportedArchitecture),
        (partial, errors.BaseModelIncomplete),
        (torn, errors.BaseModelIncomplete),
        (text, errors.BaseModelIncomplete),
        (tmp_path / "missing.gguf", errors.BaseModelNotFound),
    ]:
        with pytest.raises(error):
            base_models.prepare(GgufModel(source="gguf", path=str(path)), tmp_path / "work")
