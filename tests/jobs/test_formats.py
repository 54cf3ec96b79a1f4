"""What each format asks of a model, known before the job."""

from dataclasses import replace
from typing import Any

import pytest

from jobs import errors, formats, uneven
from jobs.formats import Format
from jobs.outline import FormatPlan, forecast
from jobs.shapes import ModelShape, read
from jobs.specs import JobSpec
from jobs.widths import Widths

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 30,
    "vocab_size": 49152,
}


def spec(asked: list[str], **method: Any) -> JobSpec:
    nowhere = {"source": "local", "path": "/nowhere"}
    method = {"type": "lora_prune", "ratio": 0.3} | method
    return JobSpec.model_validate(
        {"base_model": nowhere, "dataset": nowhere, "method": method, "output": {"formats": asked}}
    )


@pytest.mark.parametrize(
    ("asked", "multiple"),
    [([], 64), (["gguf_q8_0"], 64), (["safetensors", "gguf_q4_k_m"], 256), (["w8a8"], 64), (["w4a16"], 128)],
)
def test_widths_are_rounded_as_the_formats_ask(asked: list[str], multiple: int) -> None:
    planned = spec(asked)
    assert planned.method.ffn_multiple == multiple
    assert JobSpec.model_validate(planned.model_dump(mode="json")) == planned
    assert spec(asked, round_ffn_to=8).method.ffn_multiple == 8, "the request says otherwise"


def test_safetensors_are_always_written() -> None:
    assert spec(["gguf_f16"]).output.formats == ("gguf_f16", "safetensors")
    assert spec([]).output.formats == ("safetensors",)
    with pytest.raises(ValueError, match="each format once"):
        spec(["gguf_f16", "gguf_f16"])


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (read(LLAMA | {"model_type": "phi3"}), "not of phi3"),
        (read(LLAMA | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}), "yarn"),
        (read(LLAMA | {"model_type": "qwen3", "rope_scaling": {"rope_type": "linear", "factor": 4.0}}), "linear"),
        (read(LLAMA | {"model_type": "qwen2", "use_sliding_window": True}), "windows"),
    ],
)
def test_what_a_gguf_file_cannot_hold_is_refused_by_its_place(shape: ModelShape, words: str) -> None:
    asked: tuple[Format, ...] = ("safetensors", "gguf_q8_0")
    with pytest.raises(errors.FormatImpossible, match=words) as refused:
        formats.check(shape, asked, 64)
    assert [field.pointer for field in refused.value.errors] == ["/1"]
    formats.check(replace(shape, family="llama", rotation="llama3", windowed=False), asked, 64)


@pytest.mark.parametrize("rotation", ["dynamic", "longrope"])
def test_a_graph_does_not_choose_by_the_length_of_the_text(rotation: str) -> None:
    scaled = read(LLAMA | {"model_type": "phi3", "rope_scaling": {"rope_type": rotation, "factor": 4.0}})
    with pytest.raises(errors.FormatImpossible, match=rotation) as refused:
        formats.check(scaled, ("safetensors", "onnx"), 64)
    assert [field.pointer for field in refused.value.errors] == ["/1"]
    formats.check(replace(scaled, rotation="yarn"), ("safetensors", "onnx"), 64)


def test_four_bits_need_whole_groups_in_every_row() -> None:
    with pytest.raises(errors.FormatImpossible, match="hidden size of 576") as refused:
        formats.check(read(LLAMA), ("w8a8", "w4a16"), 128)
    assert [field.pointer for field in refused.value.errors] == ["/1"]
    with pytest.raises(errors.FormatImpossible, match="KV group of query heads of 192"):
        formats.check(read(LLAMA | {"hidden_size": 640, "head_dim": 64}), ("w4a16",), 128)
    fitting = read(LLAMA | {"hidden_size": 640, "head_dim": 128})
    formats.check(fitting, ("w4a16", "w8a16"), 128)
    with pytest.raises(errors.FormatImpossible, match="multiples of 64"):
        formats.check(fitting, ("w4a16",), 64)


def gguf_plan(allocation: str, **changed: Any) -> FormatPlan:
    """Of the GGUF file with K-quants."""
    asked = spec(["gguf_q4_k_m", "w8a8"], budget={"allocation": allocation}, train={"sequence_length": 64})
    gguf, variant, _ = forecast(read(LLAMA | changed), asked).formats
    assert "vLLM" in variant.loads_in
    return gguf


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize("allocation", ["protected", "adaptive", "global"])
def test_a_gguf_file_of_layers_that_differ_is_told_as_deci(family: str, allocation: str) -> None:
    planned = gguf_plan(allocation, model_type=family)
    assert planned.loads_in == ("llama.cpp",)
    assert planned.remark is not None
    assert "without padding, as llama.cpp's architecture deci" in planned.remark
    assert "576" in planned.remark, "no whole blocks"


def test_other_gguf_files_are_told_as_they_are() -> None:
    alike = gguf_plan("uniform")
    assert alike.loads_in == ("llama.cpp", "Ollama")
    assert "padding" not in str(alike.remark)
    padded = gguf_plan("protected", model_type="qwen3", head_dim=64)
    assert padded.loads_in == ("llama.cpp", "Ollama")
    assert "padded with zeros: llama.cpp has no architecture for such a qwen3" in str(padded.remark)


@pytest.mark.parametrize(
    ("changed", "architecture"),
    [
        ({"tie_word_embeddings": True}, "openelm"),
        ({}, None),
        ({"tie_word_embeddings": True, "attention_bias": True}, None),
    ],
)
def test_only_a_tied_qwen3_without_biases_is_an_openelm(changed: dict[str, Any], architecture: str | None) -> None:
    assert uneven.architecture(read(LLAMA | {"model_type": "qwen3", "head_dim": 64} | changed)) == architecture


def test_rows_of_every_layer_are_told_against_the_blocks() -> None:
    asked = spec(["gguf_q4_k_m"], budget={"allocation": "protected"}, round_ffn_to=8, train={"sequence_length": 64})
    planned = forecast(read(LLAMA), asked)
    assert planned.per_layer is not None
    (narrow,) = {layer.ffn for layer in planned.per_layer} - {1536}
    assert f", {narrow}" in str(planned.formats[0].remark)


def test_layers_that_are_alike_need_no_other_architecture() -> None:
    shape = read(LLAMA)
    assert uneven.held(shape, (Widths(2, 512),) * 30) is None
    mixed = (Widths(2, 512), Widths(3, 512))
    assert uneven.held(shape, mixed) == uneven.Uneven("deci", mixed)
    assert uneven.held(replace(shape, family="gemma2"), mixed) is None
