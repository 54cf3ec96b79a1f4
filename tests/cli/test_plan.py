"""What a job would come to, without a service and without reading a weight."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import prunery

SMALL = ["--set", "method.round_ffn_to=4", "--set", "method.train.sequence_length=64"]


@pytest.fixture
def described(small_model: Path, small_text: Path, tmp_path: Path) -> list[str]:
    """A model of which only the words are there: its weights are an empty file."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if (small_model / name).is_file():
            (folder / name).write_bytes((small_model / name).read_bytes())
    (folder / "model.safetensors").write_bytes(b"")
    return ["--model", str(folder), "--data", str(small_text), *SMALL]


def test_a_plan_is_made_without_weights(described: list[str]) -> None:
    done = prunery("plan", *described, "--ratio", "0.3", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ratio"] == pytest.approx(0.3, abs=0.02)
    assert found["bytes"]["after"] == 4 * found["parameters"]["after"] < found["bytes"]["before"]
    assert "transformers" in found["loads_in"]
    assert [form["format"] for form in found["formats"]] == ["safetensors"]
    dry = prunery("compress", *described, "--ratio", "0.3", "--json", "--dry-run")
    assert json.loads(dry.stdout) == found


def test_layers_that_differ_are_told_before_the_job(described: list[str]) -> None:
    done = prunery("plan", *described, "--ratio", "0.3", "--set", "method.budget.allocation=protected")
    assert done.returncode == 0, done.stderr
    assert "in safetensors narrow ones are padded with zeros" in " ".join(done.stdout.split())


def test_each_format_is_told_with_where_it_loads(described: list[str]) -> None:
    done = prunery("plan", *described, "--ratio", "0.3", "--set", "output.formats=[gguf_q8_0, w8a8]")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "gguf_q8_0: model-Q8_0.gguf, for llama.cpp, Ollama" in said
    assert "w8a8: revision w8a8, for vLLM" in said


def test_what_cannot_be_is_said_with_what_to_do(described: list[str]) -> None:
    done = prunery("plan", *described, "--ratio", "0.3", "--set", "method.layers_to_remove=50")
    assert done.returncode == 2
    assert "layer_without_units" in done.stderr
    assert "hint" in done.stderr


@pytest.mark.parametrize("model", ["registry:default/base", "s3://models/base", "s3://models/base.gguf"])
def test_a_model_of_the_service_is_refused_by_name(small_text: Path, model: str) -> None:
    done = prunery("plan", "--model", model, "--data", str(small_text), "--ratio", "0.3")
    assert done.returncode == 1
    assert f"{model.removeprefix('registry:')} is held by the service" in " ".join(done.stderr.split())
    assert "Download it" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_text_of_the_service_is_refused_by_name(described: list[str]) -> None:
    there = "{source: s3, uri: 's3://texts/train.jsonl'}"
    done = prunery("plan", *described, "--ratio", "0.3", "--set", f"evaluation.dataset={there}")
    assert done.returncode == 2
    assert "s3://texts/train.jsonl is held by the service" in " ".join(done.stderr.split())
    assert "Name a file of this machine" in done.stderr
    assert "Traceback" not in done.stderr
