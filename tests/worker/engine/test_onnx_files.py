"""An ONNX graph of a stock folder computes in onnxruntime what the folder does in transformers."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from jobs import errors
from tests.models import random_model
from tests.worker.engine.test_pipeline import run, spec_for
from worker.engine import onnx_check, onnx_files, onnx_reload

SCALED = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama with biases and scaled frequencies": {"attention_bias": True, "mlp_bias": True, "rope_parameters": SCALED},
    "qwen2, whose upper layer sees a window": {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 8,
        "max_window_layers": 1,
    },
    "gemma3, which scales embeddings in 16 bits": {"model_type": "gemma3_text"},
    "granite": {"model_type": "granite"},
    "opt": {"model_type": "opt"},
    "gpt2": {"model_type": "gpt2"},
}
IDS_BT = torch.randint(96, (2, 24), generator=torch.Generator().manual_seed(1))


def written(folder: Path, *, inline_bytes: int = onnx_files.INLINE_BYTES, **fields: Any) -> Path:
    """A random model in 16 bits, and its graph."""
    model, _ = random_model(**fields)
    model.bfloat16().save_pretrained(folder)
    onnx_files.write(folder, folder / "onnx" / "model.onnx", inline_bytes=inline_bytes)
    return folder


def compare(folder: Path) -> dict[str, Any]:
    """What the clean process would find."""
    save_file({"ids": IDS_BT}, folder / "probe.safetensors")
    onnx_reload.main(folder, folder / "onnx" / "model.onnx", folder / "probe.safetensors", folder / "found.json")
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


@pytest.mark.parametrize("fields", FAMILIES.values(), ids=FAMILIES.keys())
def test_onnxruntime_computes_the_same(fields: dict[str, Any], tmp_path: Path) -> None:
    found = compare(written(tmp_path, **fields))
    assert 0 < found["max_abs_logit_difference"] < 2e-5
    assert found["part_of_spread"] < 2e-5
    assert (found["batches"], found["tokens"]) == (6, 24)


def test_inputs_and_outputs_have_the_names_that_runtimes_look_for(tmp_path: Path) -> None:
    folder = written(tmp_path, inline_bytes=0, num_hidden_layers=1)
    assert {path.name for path in (folder / "onnx").iterdir()} == {"model.onnx", "model.onnx_data"}
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
    sizes = {given.name: given.shape for given in session.get_inputs()}
    past = ["batch_size", 2, "past_sequence_length", 8]
    assert sizes == {
        "input_ids": ["batch_size", "sequence_length"],
        "attention_mask": ["batch_size", "total_sequence_length"],
        "position_ids": ["batch_size", "sequence_length"],
        "past_key_values.0.key": past,
        "past_key_values.0.value": past,
    }
    assert [answer.name for answer in session.get_outputs()] == ["logits", "present.0.key", "present.0.value"]
    assert compare(folder)["part_of_spread"] < 2e-5, "its weights lie beside it"


def test_another_model_than_that_beside_the_graph_is_noticed(tmp_path: Path) -> None:
    folder = written(tmp_path, num_hidden_layers=1)
    config = AutoConfig.from_pretrained(folder)
    config.rope_parameters["rope_theta"] = 5000.0
    config.save_pretrained(folder)
    with pytest.raises(errors.VerificationFailed, match=r"onnx/model.onnx in onnxruntime is not the model"):
        onnx_check.certify(folder, IDS_BT, tmp_path)


def test_a_choice_by_the_length_of_the_text_cannot_be_traced(tmp_path: Path) -> None:
    with pytest.raises(errors.VerificationFailed, match="as an ONNX graph"):
        written(tmp_path, rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0})


def test_a_worker_without_the_packages_refuses_before_it_trains(
    small_model: Path, small_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    spec = spec_for(small_model, small_text, output={"formats": ["onnx"]})
    with pytest.raises(errors.FormatImpossible, match="not installed: onnxscript") as refused:
        run(spec, tmp_path)
    assert "prunery[onnx]" in str(refused.value.hint)
    assert not (tmp_path / "model").exists()


def test_a_whole_job_whose_layers_differ_writes_a_graph_that_runs_as_the_card_says(
    small_model: Path, small_text: Path, tmp_path: Path
) -> None:
    method = {"budget": {"allocation": "protected"}}
    _, _, folder = run(spec_for(small_model, small_text, method=method, output={"formats": ["onnx"]}), tmp_path)
    report = json.loads((folder / "compression_report.json").read_text())
    assert len({len(layer["ffn_channels"]) for layer in report["kept"]}) > 1
    certificate = json.loads((folder / "certificate.json").read_text())
    assert "onnx/model.onnx" in {file["path"] for file in certificate["files"]}
    assert certificate["onnx"]["max_abs_logit_difference"] < 1e-3
    card = ModelCard.load(folder / "README.md")
    assert "onnx" in card.data.tags
    (code,) = (block for block in re.findall(r"```python\n(.+?)```", card.text, re.DOTALL) if "onnxruntime" in block)
    found: dict[str, Any] = {}
    exec(code.replace("FOLDER", str(folder)), found)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(found["ids"])).logits
    torch.testing.assert_close(torch.from_numpy(found["logits"]), expected, rtol=1e-4, atol=1e-4)
