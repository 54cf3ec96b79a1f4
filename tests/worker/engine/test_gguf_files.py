"""A GGUF file of a stock folder computes in llama.cpp what the folder does in transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from tokenizers import Tokenizer
from tokenizers import models as token_models
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from cli.demo import model as demo
from cli.demo.failures import DemoFailed
from jobs import errors, uneven, widths
from jobs.formats import Format
from jobs.shapes import ModelShape
from jobs.specs import LoraSpec
from jobs.uneven import Uneven
from jobs.widths import Layout, Widths
from tests.models import byte_tokenizer, random_model
from worker.engine import (
    adapters,
    base_models,
    export,
    gguf_check,
    gguf_files,
    gguf_layout,
    gguf_models,
    gguf_reload,
    plan,
    surgery,
)
from worker.engine.architectures import Kind, Member, family, units
from worker.engine.plan import Plan

TEXT = "The harbour has 2 gates, and both are shut by night."
SCALED = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama with scaled frequencies": {"rope_parameters": SCALED | {"original_max_position_embeddings": 32}},
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "granite with biases": {"model_type": "granite", "attention_bias": True},
    "mistral, heads that do not fill it": {"model_type": "mistral", "num_attention_heads": 6, "num_key_value_heads": 3},
    "qwen2": {"model_type": "qwen2"},
    "qwen3, its own head": {"model_type": "qwen3", "tie_word_embeddings": False},
}


UNEVEN: Layout = (Widths(1, 21), Widths(2, 40), Widths(2, 8))
"""The first layer is narrower than others, and one width is odd."""


def folder_of(path: Path, **fields: Any) -> Path:
    """A random model with a tokenizer that fits it."""
    model, _ = random_model(vocab_size=len(byte_tokenizer()) + 3, **fields)
    return saved(path, model)


def saved(path: Path, model: PreTrainedModel, shard: str = "1GB") -> Path:
    """The model, in files of at most so much, with a tokenizer."""
    model.save_pretrained(path, max_shard_size=shard)
    byte_tokenizer().save_pretrained(path)
    return path


def padded_folder(path: Path, layout: Layout = UNEVEN, **fields: Any) -> tuple[Path, Uneven]:
    """A random model whose layers are as wide as `layout` says, with zeros behind, and how a GGUF file holds it."""
    model, shape = random_model(vocab_size=len(byte_tokenizer()) + 3, num_hidden_layers=len(layout), **fields)
    with torch.no_grad():
        for block, kept in zip(family(shape).layers(model), layout, strict=True):
            for member in family(shape).members:
                count = kept.ffn if member.kind is Kind.FFN_CHANNEL else kept.kv_groups
                projection = block.get_submodule(member.path)
                projection.weight.narrow(member.axis, *beyond(projection.weight, member, shape, count)).zero_()
                if projection.bias is not None and member.axis == 0:
                    projection.bias.narrow(0, *beyond(projection.bias, member, shape, count)).zero_()
    held = uneven.held(shape, layout)
    assert held is not None
    return saved(path, model, shard="20KB"), held


def beyond(tensor: torch.Tensor, member: Member, shape: ModelShape, count: int) -> tuple[int, int]:
    """Where the channels behind `count` units begin, and how many they are."""
    first = count * member.channels(shape)
    return first, tensor.shape[member.axis] - first


def compare(folder: Path, form: Format, text: str, narrow: Uneven | None = None) -> dict[str, Any]:
    """What the clean process would find."""
    (folder / "probe.txt").write_text(text)
    gguf = folder / "model.gguf"
    gguf_files.write(folder, gguf, form, name="a model", licence="mit", uneven=narrow)
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


UNEVEN_FAMILIES = {
    name: fields for name, fields in FAMILIES.items() if fields.get("model_type") not in ("qwen3", "granite")
} | {"qwen3, tied": {"model_type": "qwen3", "head_dim": 16}}


@pytest.mark.parametrize("fields", UNEVEN_FAMILIES.values(), ids=UNEVEN_FAMILIES.keys())
def test_layers_that_differ_are_held_without_padding(fields: dict[str, Any], tmp_path: Path) -> None:
    folder, narrow = padded_folder(tmp_path, **fields)
    found = compare(folder, "gguf_f16", TEXT, narrow)
    assert found["architecture"] == ("openelm" if fields.get("model_type") == "qwen3" else "deci")
    assert found["same_tokens"]
    assert found["all_tokens"] < 0.005
    assert found["last_token"] < 0.02
    assert found["quantisation"] < 0.005
    assert found["parting_lead"] < 0.01
    check_shapes(folder / "model.gguf", AutoConfig.from_pretrained(folder))
    padded = folder / "padded.gguf"
    gguf_files.write(folder, padded, "gguf_f16", name="a model", licence="mit")
    assert (folder / "model.gguf").stat().st_size < padded.stat().st_size


def check_shapes(gguf: Path, config: Any) -> None:
    """Every tensor of a layer is as narrow as `UNEVEN` says."""
    shapes = {tensor.name: tuple(tensor.shape.tolist()[::-1]) for tensor in GGUFReader(gguf).tensors}
    hidden, group = config.hidden_size, config.num_attention_heads // config.num_key_value_heads
    for layer, kept in enumerate(UNEVEN):
        rows = kept.kv_groups * gguf_layout.head_dim(config)
        expected = {
            "attn_q": (group * rows, hidden),
            "attn_k": (rows, hidden),
            "attn_v": (rows, hidden),
            "attn_qkv": ((group + 2) * rows, hidden),
            "attn_output": (hidden, group * rows),
            "ffn_gate": (kept.ffn, hidden),
            "ffn_up": (kept.ffn, hidden),
            "ffn_down": (hidden, kept.ffn),
        }
        found = {part: shapes[name] for part in expected if (name := f"blk.{layer}.{part}.weight") in shapes}
        apart, together = {"attn_q", "attn_k", "attn_v"}, {"attn_qkv"}
        assert expected.keys() - found.keys() in (apart, together)
        assert found.items() <= expected.items()


@pytest.mark.parametrize(("family_name", "kind"), [("llama", "Q4_K"), ("qwen3", "Q5_K")])
def test_layers_that_differ_are_held_in_few_bits(family_name: str, kind: str, tmp_path: Path) -> None:
    wide = {"hidden_size": 256, "head_dim": 128, "intermediate_size": 512, "initializer_range": 0.05}
    folder, narrow = padded_folder(
        tmp_path, (Widths(1, 256), Widths(2, 512), Widths(2, 200)), model_type=family_name, **wide
    )
    found = compare(folder, "gguf_q4_k_m", TEXT, narrow)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(folder / "model.gguf").tensors}
    assert kinds["blk.0.attn_output.weight"] == kinds["blk.0.ffn_up.weight"] == "Q4_K", "rows of 256"
    assert kinds.get("blk.0.attn_q.weight", kinds.get("blk.0.attn_qkv.weight")) == kind
    assert kinds["blk.2.ffn_down.weight"] == "F16", "rows of 200"
    assert found["all_tokens"] < 0.1
    assert found["last_token"] < 0.3
    assert 0.01 < found["quantisation"] < 0.5


def test_no_width_is_written_that_cuts_off_more_than_zeros(tmp_path: Path) -> None:
    folder, narrow = padded_folder(tmp_path)
    less = Uneven(narrow.architecture, (Widths(1, 20), *narrow.layout[1:]))
    with pytest.raises(errors.VerificationFailed, match=r"layers.0.mlp.\w+.weight .* is not zero beyond it"):
        gguf_files.write(folder, tmp_path / "model.gguf", "gguf_f16", name="a model", licence=None, uneven=less)


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
    read = gguf_files.weights(tmp_path / "model.gguf", model.config, state)
    assert read.keys() == state.keys()
    assert all((read[name] - state[name]).abs().max() < 0.01 for name in state)
