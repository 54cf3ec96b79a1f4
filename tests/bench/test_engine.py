"""The rows behind the engine's figures: valid jobs on equal models, each run once."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.engine import material, recipes, rows
from bench.engine.material import Material
from jobs.specs import JobSpec
from tests.models import byte_tokenizer, random_model


def test_the_twin_answers_as_the_grouped_model(tmp_path: Path) -> None:
    grouped, _ = random_model()
    grouped.save_pretrained(tmp_path / "grouped")
    byte_tokenizer().save_pretrained(tmp_path / "grouped")
    material.make_twin(tmp_path / "grouped", tmp_path / "twin")
    twin = AutoModelForCausalLM.from_pretrained(tmp_path / "twin").eval()
    assert twin.config.num_key_value_heads == twin.config.num_attention_heads == 4
    ids_BT = torch.arange(40).view(2, 20)
    with torch.inference_mode():
        torch.testing.assert_close(twin(ids_BT).logits, grouped(ids_BT).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "twin")("a").input_ids


@pytest.mark.parametrize("kept", recipes.REMOVED)
def test_every_recipe_is_a_job(kept: str) -> None:
    given = Material(Path("grouped"), Path("twin"), Path("train"), Path("test"))
    by_layer = [recipes.BY_LAYER, recipes.GUIDED_BY_LAYER]
    methods = [recipes.BEST, recipes.STRICT, recipes.GUIDED, *by_layer, recipes.SHORT, *recipes.SWITCHES.values()]
    specs = [JobSpec.model_validate(recipes.recipe(given, given.twin, kept, method)) for method in methods]
    assert len({spec.model_dump_json() for spec in specs}) == len(methods), "two switches are the same job"


def test_without_the_text_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRUNERY_TEST_DATA", str(tmp_path))
    with pytest.raises(material.Missing, match="put valid"):
        material.find(tmp_path)


def test_a_finished_row_is_not_run_again(small_model: Path, small_text: Path, tmp_path: Path) -> None:
    text = {"source": "local", "path": str(small_text)}
    method = {
        "type": "lora_prune",
        "ratio": 0.3,
        "round_ffn_to": 4,
        "train": {"steps": 3, "batch_size": 2, "sequence_length": 32},
        "score": {"calibration_windows": 2},
        "reconstruction": {"enabled": False},
    }
    recipe = {
        "base_model": {"source": "local", "path": str(small_model)},
        "dataset": text,
        "method": method,
        "evaluation": {"max_windows": 2, "finetuned_reference": False, "benchmark": False, "agreement": False},
    }
    row = rows.run("row", recipe, tmp_path)
    assert len(row.steps) == 3
    assert 0 < row.phases["scoring"] < row.steps[0] < row.steps[-1] <= row.phases["merging"] <= row.cpu_seconds
    assert row.peak_bytes > 1e8

    (file,) = tmp_path.iterdir()
    content = json.loads(file.read_bytes())
    content["summary"]["pruned"]["perplexity"] = -1.0
    file.write_text(json.dumps(content))
    assert rows.run("row", recipe, tmp_path).perplexity == -1.0
