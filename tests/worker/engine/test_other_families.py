"""Whole jobs on models that are no Llamas: fused and transposed projections, uneven layers that are padded, norms that
normalise what is added."""

import json
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from transformers import AutoConfig, AutoModelForCausalLM

from tests.models import byte_tokenizer, random_model
from tests.worker.engine.test_pipeline import run, spec_for
from worker.engine import verification

UNEVEN = {"budget": {"allocation": "global"}}
JOBS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gemma3_text": ({"num_key_value_heads": 4}, {"score": {"criterion": "lora_gradient"}}),
    "phi3": ({}, UNEVEN),
    "gpt2": ({}, UNEVEN | {"ratio": 0.2, "scope": ["mlp_channels"]}),
    "qwen2": ({"num_key_value_heads": 4}, {"ratio": 0.13, "scope": ["attention_heads"]}),
    "opt": ({}, {"ratio": 0.2, "scope": ["mlp_channels"], "distillation": {"mode": "cached", "top_k": 8}}),
}
HOSTS = {"qwen2": "granite"}  # with 3 heads of 4, which do not divide the hidden size


@pytest.mark.parametrize(("name", "fields", "method"), [(name, *job) for name, job in JOBS.items()], ids=JOBS)
def test_a_whole_job(
    name: str, fields: dict[str, Any], method: dict[str, Any], small_text: Path, tmp_path: Path
) -> None:
    tokenizer = byte_tokenizer()
    model, shape = random_model(model_type=name, vocab_size=len(tokenizer), **fields)
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    train = {"steps": 6, "batch_size": 4, "sequence_length": 32}
    evaluation = {"max_windows": 4, "finetuned_reference": True}

    spec = spec_for(tmp_path / "base", small_text, method={"train": train} | method, evaluation=evaluation)
    summary, _, folder = run(spec, tmp_path / "run")

    assert summary["max_abs_logit_difference"] <= verification.TOLERANCE
    assert summary["pruned"]["parameters"] < summary["dense"]["parameters"] == shape.parameters
    loaded, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    assert loaded.config.model_type == HOSTS.get(name, name)


def test_a_job_writes_layers_that_differ_as_a_narrow_gguf_file(small_text: Path, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    model, shape = random_model(model_type="qwen2", vocab_size=len(tokenizer), num_hidden_layers=3)
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    method = {"train": {"steps": 6, "batch_size": 4, "sequence_length": 32}} | UNEVEN
    spec = spec_for(tmp_path / "base", small_text, method=method, output={"formats": ["gguf_f16"]})
    summary, events, folder = run(spec, tmp_path / "run")

    (proof,) = json.loads((folder / "certificate.json").read_text())["gguf"]
    assert proof["architecture"] == "deci"
    assert proof["all_tokens"] < 0.01
    kept = summary["plan"]["per_layer"]
    sizes = {tensor.name: tensor.shape.tolist() for tensor in GGUFReader(folder / "model-F16.gguf").tensors}
    assert [sizes[f"blk.{place}.ffn_down.weight"][0] for place in range(3)] == [layer["ffn"] for layer in kept]
    rows = [sizes[f"blk.{place}.attn_k.weight"][1] for place in range(3)]
    assert rows == [layer["kv_heads"] * shape.head_dim for layer in kept]
    assert any("as deci" in event.get("message", "") for event in events)
    card = (folder / "README.md").read_text()
    assert "architecture `deci`" in card
    assert "`per_layer_config.json` has the widths" in card
    config = AutoConfig.from_pretrained(folder)
    config.per_layer_config = json.loads((folder / "per_layer_config.json").read_text())
    assert [(layer.num_key_value_heads, layer.intermediate_size) for layer in config.per_layer_config] == [
        (layer["kv_heads"], layer["ffn"]) for layer in kept
    ]
