"""Weights in fewer bits load in stock transformers, and each weight is as near as its bits allow."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from jobs import errors
from jobs.formats import Format
from tests.models import byte_tokenizer, random_model
from worker.engine import variant_check, variant_reload, weight_variants

TEXT = "The harbour has 2 gates, and both are shut by night."
STEPS: dict[Format, int] = {"w8a8": 127, "w8a16": 127, "w4a16": 7}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stock")
    tokenizer = byte_tokenizer()
    model, _ = random_model(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=128, head_dim=32, initializer_range=0.05
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("form", STEPS)
def test_every_weight_is_the_nearest_step(stock: Path, form: Format, tmp_path: Path) -> None:
    weight_variants.write(stock, tmp_path / form, form)
    (tmp_path / "probe.txt").write_text(TEXT)
    variant_reload.main(stock, tmp_path / form, tmp_path / "probe.txt", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["problems"] == {}
    assert found["greedy_tokens"] == 12
    assert 0 < found["quantisation"] < (0.1 if STEPS[form] > 7 else 0.7)

    name = "model.layers.1.mlp.down_proj.weight"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / form, dtype=torch.float32)
    model(torch.zeros(1, 2, dtype=torch.long))  # the first use gives the weights their values back
    weight_OI = load_file(stock / "model.safetensors")[name]
    largest = weight_OI.abs().amax(1, keepdim=True)
    assert ((model.state_dict()[name] - weight_OI).abs() <= 0.51 * largest / STEPS[form]).all()
    stored = load_file(tmp_path / form / "model.safetensors")
    assert sum(tensor.nbytes for key, tensor in stored.items() if "down_proj" in key) < weight_OI.nbytes


def test_another_model_is_noticed(stock: Path, tmp_path: Path) -> None:
    other, _ = random_model(
        1, vocab_size=len(byte_tokenizer()), hidden_size=128, intermediate_size=128, head_dim=32, initializer_range=0.05
    )
    other.save_pretrained(tmp_path / "other")
    byte_tokenizer().save_pretrained(tmp_path / "other")
    weight_variants.write(tmp_path / "other", tmp_path / "w8a8", "w8a8")
    with pytest.raises(errors.VerificationFailed, match="In w8a8 the model is another"):
        variant_check.certify(stock, tmp_path / "w8a8", "w8a8", TEXT, tmp_path)
