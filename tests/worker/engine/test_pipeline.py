"""A whole job of the engine on a small real model, and each bad model it must refuse by name."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from jobs import errors
from jobs.families import FAMILIES
from jobs.specs import JobSpec
from tests.models import byte_tokenizer, random_model
from worker.engine import base_models, pipeline, verification
from worker.engine.job import Inputs
from worker.engine.reporter import Reporter

Result = tuple[dict[str, Any], list[dict[str, Any]], Path]


def spec_for(model: Path, text: Path, **fields: Any) -> JobSpec:
    method = {
        "type": "lora_prune",
        "ratio": 0.25,
        "round_ffn_to": 4,
        "train": {"steps": 12, "batch_size": 4, "sequence_length": 64, "learning_rate": 1e-3},
        "schedule": {"warmup_fraction": 0.1, "cooldown_fraction": 0.5, "prune_every_steps": 2},
    } | fields.pop("method", {})
    return JobSpec.model_validate(
        {
            "base_model": {"source": "local", "path": str(model)},
            "dataset": {"source": "local", "path": str(text), "max_samples": 60},
            "method": method,
            "evaluation": {"max_windows": 8, "finetuned_reference": False, "benchmark": False},
        }
        | fields
    )


def run(spec: JobSpec, folder: Path) -> Result:
    work = folder / "work"
    work.mkdir(parents=True)
    events: list[dict[str, Any]] = []
    inputs = Inputs(spec.base_model, spec.dataset, None, spec.texts)  # type: ignore[arg-type]
    summary = pipeline.compress(spec, inputs, folder / "model", work, Reporter(events.append))
    return summary, events, folder / "model"


@pytest.fixture(scope="module")
def done(small_model: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("done")
    (folder / "questions.jsonl").write_text(json.dumps({"query": "Once upon a", "choices": ["time", "of"], "gold": 0}))
    evaluation = {
        "max_windows": 8,
        "window": 48,
        "prompts": ["Once upon a time"],
        "perplexities": [{"name": "ppl128", "dataset": {"source": "local", "path": str(small_text)}, "window": 128,
                          "max_windows": 4}],
        "multiple_choice": [{"name": "own", "dataset": {"source": "local", "path": str(folder / "questions.jsonl")}}],
    }  # fmt: skip
    output = {"formats": ["gguf_f16", "gguf_q4_k_m", "w8a8"]}
    return run(spec_for(small_model, small_text, evaluation=evaluation, output=output), folder)


def test_what_was_asked_for_is_what_is_in_the_folder(done: Result) -> None:
    summary, _, folder = done
    model = AutoModelForCausalLM.from_pretrained(folder)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == summary["pruned"]["parameters"] < summary["dense"]["parameters"]
    blocks = summary["plan"]["block_parameters"]
    assert blocks["before"] - blocks["after"] == summary["dense"]["parameters"] - parameters
    assert summary["achieved_ratio"] == pytest.approx(0.25, abs=0.02)
    assert model.config.num_key_value_heads == summary["plan"]["kv_heads"]["after"]
    assert summary["max_abs_logit_difference"] <= verification.TOLERANCE
    assert summary["pruned"]["bytes"] < summary["dense"]["bytes"]


def test_the_folder_is_complete_and_tells_how_it_was_made(done: Result) -> None:
    summary, events, folder = done
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "recipe.yaml", "report.html"} <= names
    assert "per_layer_config.json" not in names, "all layers are alike"
    card = (folder / "README.md").read_text()
    pictures = re.findall(r"!\[[^]]+\]\((.+)\)", card)
    assert len(pictures) == 3
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    report = json.loads((folder / "compression_report.json").read_text())
    assert {key: value for key, value in report.items() if key in summary} == summary
    (further,) = report["perplexities"]
    assert (further["protocol"]["windows"], further["protocol"]["window_tokens"]) == (4, 128)
    assert min(further["pruned"], further["dense"]) > 1
    assert report["tasks"]["own"]["acc"].keys() == {"dense", "pruned"}
    assert 0 < report["agreement"]["top1"] < 1
    assert report["agreement"]["tokens"] == report["perplexity_protocol"]["predicted_tokens"] == 8 * 47
    assert len(report["history"]["steps"]) == 24, "12 steps of the reference, 12 of the job"
    kept = report["kept"]
    assert all(len(layer["ffn_channels"]) == summary["plan"]["ffn"]["after"] for layer in kept)
    prunes = [event for event in events if event["type"] == "prune"]
    assert [event["step"] for event in report["history"]["prunes"]] == [event["step"] for event in prunes]
    assert all(12 < event["step"] <= 24 for event in prunes), "steps are counted through both runs"
    assert prunes[-1]["sparsity"] == pytest.approx(summary["achieved_ratio"])
    assert [event["sparsity"] for event in prunes] == sorted(event["sparsity"] for event in prunes)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (
        tokenizer.decode(tokenizer("Once upon a time").input_ids, skip_special_tokens=True).strip().startswith("Once")
    )
    assert summary["perplexity_protocol"]["window_tokens"] == 48
    text = summary["perplexity_protocol"]["text"]
    assert text.startswith("text.jsonl, rows as for training, in an order drawn from the seed")
    assert "the last 5 % of its windows" in text
    assert summary["samples"][0]["dense"]
    assert summary["dense"]["decode_tokens_per_second"] > 0
    assert summary["dense_finetuned"]["perplexity"] < summary["dense"]["perplexity"] * 1.1


def test_the_certificate_covers_every_file_and_every_format(done: Result) -> None:
    _, _, folder = done
    found = json.loads((folder / "certificate.json").read_text())
    assert found["safetensors"]["greedy_tokens"] == found["safetensors"]["greedy_tokens_equal"] == 12
    assert found["safetensors"]["max_abs_logit_difference"] <= verification.TOLERANCE
    assert [proof["file"] for proof in found["gguf"]] == ["model-F16.gguf", "model-Q4_K_M.gguf"]
    exact, coarse = found["gguf"]
    assert exact["as_safetensors"], exact["text"]
    assert exact["all_tokens"] < exact["quantisation"] + 0.01 < coarse["quantisation"]
    assert {file["path"] for file in found["files"]} == {path.name for path in folder.iterdir()} - {"certificate.json"}
    for file in found["files"]:
        assert hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest() == file["sha256"]


def test_a_quantised_variant_is_a_repository_of_its_own(done: Result) -> None:
    _, _, folder = done
    variant = folder.parent / "variants" / "w8a8"
    model, loading = AutoModelForCausalLM.from_pretrained(variant, output_loading_info=True)
    assert not any(loading.values())
    assert model.config.intermediate_size == AutoModelForCausalLM.from_pretrained(folder).config.intermediate_size
    assert AutoTokenizer.from_pretrained(variant)("Once upon").input_ids
    found = json.loads((variant / "certificate.json").read_text())
    assert found["quantised"]["format"] == "w8a8"
    assert 0 < found["quantised"]["quantisation"] < 0.3
    card = ModelCard.load(variant / "README.md")
    assert card.data.tags[-1] == "w8a8"
    assert "the `w8a8` variant" in card.text
    assert {"README.md", "model.safetensors"} <= {file["path"] for file in found["files"]}


def test_the_phases_come_in_their_order(done: Result) -> None:
    _, events, _ = done
    phases = [event["phase"] for event in events if event["type"] == "phase"]
    assert phases == [
        "downloading_base", "loading_data", "baseline_eval", "reference_tuning", "scoring", "pruning", "recovering",
        "merging", "exporting", "verifying", "converting", "evaluating",
    ]  # fmt: skip
    steps = [event for event in events if event["type"] == "progress"]
    assert [event["step"] for event in steps] == list(range(1, 25))
    assert steps[-1]["sparsity"] == pytest.approx(steps[-1]["sparsity_target"])


def test_the_same_seed_keeps_the_same_units_and_weights(small_model: Path, small_text: Path, tmp_path: Path) -> None:
    spec = spec_for(small_model, small_text)
    _, _, first = run(spec, tmp_path / "first")
    torch.manual_seed(7)  # what the process did before must not matter
    _, _, second = run(spec, tmp_path / "second")
    kept = [json.loads((folder / "compression_report.json").read_text())["kept"] for folder in (first, second)]
    assert kept[0] == kept[1]
    weights = [load_file(folder / "model.safetensors") for folder in (first, second)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_bfloat16_model_stays_bfloat16_on_disk(small_model: Path, small_text: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(small_model, dtype=torch.bfloat16).save_pretrained(base)
    AutoTokenizer.from_pretrained(small_model).save_pretrained(base)
    train = {"steps": 12, "batch_size": 4, "sequence_length": 64, "precision": "bfloat16"}
    summary, _, folder = run(spec_for(base, small_text, method={"train": train}), tmp_path / "run")
    assert load_file(folder / "model.safetensors")["model.norm.weight"].dtype == torch.bfloat16
    assert summary["max_abs_logit_difference"] <= verification.TOLERANCE
    assert summary["merged_logit_difference"] <= verification.TOLERANCE


def test_a_run_whose_loss_is_lost_ends_by_name(small_model: Path, small_text: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(small_model, base)
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], float("inf"))
    (base / "model.safetensors").unlink()
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(errors.LossNotFinite):
        run(spec_for(base, small_text), tmp_path / "run")


def broken(folder: Path, change: dict[str, Any] | None = None, *, remove: str = "", add: str = "") -> Path:
    """A model folder with something wrong."""
    model, _ = random_model()
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text()) | (change or {})
    (folder / "config.json").write_text(json.dumps(config))
    if remove:
        (folder / remove).unlink()
    if add:
        (folder / add).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"change": {"architectures": ["BertForMaskedLM"], "model_type": "bert"}}, errors.NotACausalLM, "Bert"),
        ({"change": {"architectures": ["LlamaForSequenceClassification"]}}, errors.NotACausalLM, "Sequence"),
        ({"change": {"model_type": "mamba"}}, errors.UnsupportedArchitecture, "mamba"),
        ({"change": {"quantization_config": {"quant_method": "gptq"}}}, errors.UnsupportedArchitecture, "quantised"),
        ({"change": {"num_key_value_heads": 3}}, errors.UnsupportedArchitecture, "evenly"),
        ({"change": {"hidden_size": "many"}}, errors.UnsupportedArchitecture, "hidden_size"),
        ({"remove": "config.json"}, errors.BaseModelIncomplete, r"no config\.json"),
        ({"remove": "model.safetensors"}, errors.BaseModelIncomplete, "no weights"),
        ({"remove": "model.safetensors", "add": "pytorch_model.bin"}, errors.PickleWeights, "any code"),
    ],
)
def test_a_base_model_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, wrong: dict[str, Any], error: type[Exception], says: str
) -> None:
    folder = broken(tmp_path / "model", **wrong)
    with pytest.raises(error, match=says) as refused:
        base_models.open_folder(folder)
    if says == "mamba":
        assert all(family in refused.value.hint for family in FAMILIES)


@pytest.mark.parametrize("content", ["{", "[]", '{"metadata": {}}', '{"weight_map": ["model.safetensors"]}'])
def test_an_index_of_shards_that_says_nothing_is_refused_by_name(tmp_path: Path, content: str) -> None:
    folder = broken(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(errors.BaseModelIncomplete, match="which file holds which weight"):
        base_models.open_folder(folder)


def test_a_model_in_shards_is_the_model_in_one_file(tmp_path: Path) -> None:
    model, _ = random_model()
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    whole, shards = (
        base_models.open_folder(tmp_path / name).load(torch.float32).state_dict() for name in ("whole", "shards")
    )
    assert whole.keys() == shards.keys()
    assert all(torch.equal(tensor, shards[name]) for name, tensor in whole.items())


def test_a_missing_shard_is_refused_by_name(tmp_path: Path) -> None:
    folder = broken(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}})
    )
    with pytest.raises(errors.BaseModelIncomplete, match="model-00002-of-00002"):
        base_models.open_folder(folder)


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ({"train": {"steps": 2, "sequence_length": 100_000}}, errors.SequenceTooLong),
        ({"ratio": 0.01, "round_ffn_to": 64}, errors.TargetUnreachable),
    ],
)
def test_what_cannot_be_planned_is_refused_before_any_work(
    small_model: Path, small_text: Path, tmp_path: Path, method: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        run(spec_for(small_model, small_text, method=method), tmp_path)
    assert not (tmp_path / "model").exists()


def test_a_tokenizer_larger_than_its_model_is_refused_by_name(small_text: Path, tmp_path: Path) -> None:
    model, _ = random_model(max_position_embeddings=256)
    model.save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    method = {"ratio": 0.28, "train": {"steps": 2, "sequence_length": 32}}
    with pytest.raises(errors.BaseModelIncomplete, match="knows 96 tokens only"):
        run(spec_for(tmp_path / "base", small_text, method=method), tmp_path / "run")


def test_a_tampered_checkpoint_is_not_certified(done: Result, tmp_path: Path) -> None:
    _, _, folder = done
    tampered = tmp_path / "tampered"
    shutil.copytree(folder, tampered)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids_BT = torch.randint(model.config.vocab_size, (2, 32))
    expected_BTV = verification.exact_answers(model, ids_BT)
    assert verification.certify(tampered, ids_BT, expected_BTV, tmp_path).max_abs_difference <= 1e-9
    weights = load_file(tampered / "model.safetensors")
    weights["model.layers.0.mlp.down_proj.weight"] *= 1.01
    (tampered / "model.safetensors").unlink()
    save_file(weights, tampered / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(errors.VerificationFailed, match="differs"):
        verification.certify(tampered, ids_BT, expected_BTV, tmp_path)
