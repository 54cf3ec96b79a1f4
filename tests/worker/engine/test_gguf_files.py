"""A GGUF file of a stock folder computes in llama.cpp what the folder does in transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from tokenizers import Tokenizer
from tokenizers import models as token_models
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from cli.demo import model as demo
from cli.demo.failures import DemoFailed
from jobs import errors, widths
from jobs.formats import Format
from jobs.specs import LoraSpec
from jobs.widths import Widths
from tests.models import byte_tokenizer, random_model
from worker.engine import adapters, base_models, export, gguf_check, gguf_files, gguf_models, gguf_reload, plan, surgery
from worker.engine.architectures import Kind, family, units
from worker.engine.plan import Plan

TEXT = "The harbour has 2 gates, and both are shut by night."
SCALED = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama with scaled frequencies": {"rope_parameters": SCALED | {"original_max_position_embeddings": 32}},
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "mistral, heads that do not fill it": {"model_type": "mistral", "num_attention_heads": 6, "num_key_value_heads": 3},
    "qwen2": {"model_type": "qwen2"},
    "qwen3, its own head": {"model_type": "qwen3", "tie_word_embeddings": False},
}


def folder_of(path: Path, **fields: Any) -> Path:
    """A random model with a tokenizer that fits it."""
    tokenizer = byte_tokenizer()
    model, _ = random_model(vocab_size=len(tokenizer) + 3, **fields)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def compare(folder: Path, form: Format, text: str) -> dict[str, Any]:
    """What the clean process would find."""
    (folder / "probe.txt").write_text(text)
    gguf = folder / "model.gguf"
    gguf_files.write(folder, gguf, form, name="a model", licence="mit")
    gguf_reload.main(folder, gguf, folder / "probe.txt", folder / "found.json")
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


@pytest.mark.parametrize("fields", FAMILIES.values(), ids=FAMILIES.keys())
def test_llama_cpp_computes_the_same(fields: dict[str, Any], tmp_path: Path) -> None:
    found = compare(folder_of(tmp_path, **fields), "gguf_f16", TEXT)
    assert found["same_tokens"]
    assert found["all_tokens"] < 0.005
    assert found["last_token"] < 0.02
    assert found["quantisation"] < 0.005
    assert found["parting_lead"] < 0.01


def test_a_row_that_blocks_do_not_fill_is_held_in_16_bits(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, num_hidden_layers=1)
    gguf_files.write(folder, tmp_path / "model.gguf", "gguf_q8_0", name="a model", licence=None)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "model.gguf").tensors}
    assert kinds["blk.0.ffn_down.weight"] == "F16", "40 channels"
    assert kinds["blk.0.ffn_up.weight"] == "Q8_0"
    assert kinds["blk.0.ffn_norm.weight"] == "F32"


def test_other_weights_than_those_beside_the_file_are_noticed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    path = folder / "model-F16.gguf"
    gguf_files.write(folder, path, "gguf_f16", name="a model", licence=None)
    config = AutoConfig.from_pretrained(folder)
    config.rope_parameters["rope_theta"] = 50.0
    config.save_pretrained(folder)
    with pytest.raises(errors.VerificationFailed, match=r"model-F16.gguf in llama.cpp is not the model"):
        gguf_check.certify(folder, "gguf_f16", TEXT, tmp_path)


def test_a_tokenizer_without_words_for_it_is_refused(tmp_path: Path) -> None:
    words = Tokenizer(token_models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    with pytest.raises(errors.FormatImpossible, match="WordLevel"):
        gguf_files.gguf_tokenizers.check(PreTrainedTokenizerFast(tokenizer_object=words))


@pytest.fixture(scope="session")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of SmolLM2-135M-Instruct, from the package that carries it."""
    folder = tmp_path_factory.mktemp("smollm")
    try:
        gguf = demo.gguf(folder, lambda _: None)
    except DemoFailed as missing:
        pytest.skip(str(missing))
    gguf_models.convert(gguf, folder / "stock")
    gguf.unlink()
    return folder / "stock"


def test_a_pruned_smollm_writes_the_same_text(smollm: Path, tmp_path: Path) -> None:
    base = base_models.open_folder(smollm)
    shape, model = base.shape, base.load(torch.float16)
    scores = {kind: torch.rand(shape.layers, units(shape, kind)) for kind in Kind}
    for kind, layer_scores in scores.items():  # the last go, so that which do is known
        layer_scores[:] = torch.arange(units(shape, kind)).flip(0)
    chosen = plan.narrow(Plan.dense(shape), scores, widths.alike(shape, Widths(shape.kv_heads, shape.ffn - 64)))
    adapters.attach(model, family(shape), LoraSpec(rank=1), seed=0)
    surgery.cut(model, family(shape), shape, Plan.dense(shape), chosen, None)
    state = adapters.merged_state(model, family(shape))
    pruned = export.assemble(export.stock_config(base.stock_config(), shape, chosen), state)
    export.round_weights(pruned, torch.float16)
    export.save(pruned, base.tokenizer(), None, tmp_path, max_shard_bytes=10**9)
    del model, pruned, state
    found = compare(tmp_path, "gguf_f16", "The history of the city begins in the 12th century, when 1200 settlers came")
    assert AutoConfig.from_pretrained(tmp_path).intermediate_size == shape.ffn - 64
    assert found["as_safetensors"], found["text"]
    assert len(found["text"]) > 20
    assert found["all_tokens"] < 0.01
    assert found["quantisation"] < 1e-5, "the weights have 16 bits on both sides"


def test_what_is_read_back_is_what_was_written(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, attention_bias=True)
    gguf_files.write(folder, tmp_path / "model.gguf", "gguf_q8_0", name="a model", licence=None)
    model = AutoModelForCausalLM.from_pretrained(folder)
    state = model.state_dict()
    read = gguf_files.weights(tmp_path / "model.gguf", model.config, list(state))
    assert read.keys() == state.keys()
    assert all((read[name] - state[name]).abs().max() < 0.01 for name in state)
