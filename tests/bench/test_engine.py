"""The rows behind the engine's figures: valid jobs on equal models, each run once."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.engine import material, measure, recipes, rows
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
    guided = [recipes.GUIDED, recipes.GUIDED_ITERATIVE, *by_layer]
    methods = [recipes.BEST, recipes.STRICT, *guided, recipes.SHORT, *recipes.SWITCHES.values()]
    specs = [JobSpec.model_validate(recipes.recipe(given, given.twin, kept, method)) for method in methods]
    assert len({spec.model_dump_json() for spec in specs}) == len(methods), "two switches are the same job"


def test_each_figure_is_what_its_row_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every row took three seconds a step until its cut, in the fourth of 40, and what `later` says afterwards."""
    later = {"best_50.6": 1.0, "lora_prune_50.6": 1.0, "speed_every_event": 1.5, "speed_after_training": 3.0}

    def row(name: str, job: recipes.Recipe, results: Path) -> rows.Row:
        JobSpec.model_validate(job)
        ends = list(itertools.accumulate([3.0] * 4 + [later[name]] * 36, initial=10.0))[1:]
        speeds = {"dense": 100.0, "pruned": 180.0}
        sides = {side: {"prefill_tokens_per_second": speed, "perplexity": 28.0} for side, speed in speeds.items()}
        further = {"pruned": 90.0, "dense": 40.0}
        summary = sides | {"achieved_ratio": 0.496, "perplexities": [further]}
        return rows.Row(summary, ends, {"scoring": 10.0, "merging": ends[-1]}, ends[-1], 3_000_000_000)

    given = Material(Path("grouped"), Path("twin"), Path("train"), Path("test"), Path("further"))
    monkeypatch.setattr(material, "find", lambda folder: given)
    monkeypatch.setattr(measure, "run", row)
    monkeypatch.delenv("ALL", raising=False)
    found = {figure.name: figure for figure in measure.measure(tmp_path)}
    values = {
        "engine_perplexity_50.6_best": 28.0,
        "engine_kept_50.6_best": 50.4,
        "engine_further_50.6_best": 2.25,
        "engine_memory_peak": 3.0,
        "engine_prefill_over_dense": 1.8,
        "engine_perplexity_50.6_lora_prune": 28.0,
        "engine_kept_50.6_lora_prune": 50.4,
        "engine_further_50.6_lora_prune": 2.25,
        "engine_speed_over_masked_only": 40 * 3 / (4 * 3 + 36 * 1.5),
        "engine_last_tenth_over_first": 2.0,
    }
    assert {name: figure.value for name, figure in found.items()} == pytest.approx(values)
    assert all(figure.is_ok for figure in found.values())

    later |= dict.fromkeys(later, 3.0)  # as if cutting gained nothing
    short = {figure.name for figure in measure.measure(tmp_path) if not figure.is_ok}
    assert short == {"engine_speed_over_masked_only", "engine_last_tenth_over_first"}


def test_without_the_text_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRUNERY_TEST_DATA", str(tmp_path))
    with pytest.raises(material.Missing, match="put valid"):
        material.find(tmp_path)


def test_a_finished_row_is_not_run_again(
    small_model: Path, small_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
    capsys.readouterr()
    assert rows.run("row", recipe, tmp_path).perplexity == -1.0
    assert "ANOTHER VERSION" not in capsys.readouterr().out
    file.write_text(json.dumps(content | {"engine": "older"}))
    assert rows.run("row", recipe, tmp_path).perplexity == -1.0
    assert "ANOTHER VERSION" in capsys.readouterr().out
