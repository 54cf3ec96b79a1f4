"""Models whose small files look sound, and are refused by name once they are opened."""

import gc
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs import errors
from jobs.sources import HubModel
from tests.models import random_model
from worker.engine import base_models


def written(folder: Path, *, config: dict[str, object] | None = None) -> Path:
    random_model()[0].save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | (config or {})))
    return folder


def test_a_model_is_loaded_whole(tmp_path: Path) -> None:
    loaded = base_models.open_folder(written(tmp_path / "model")).load(torch.float32)
    expected = random_model()[0].state_dict()
    assert all(torch.equal(expected[name], tensor.cpu()) for name, tensor in loaded.state_dict().items())


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="this system does not list what is mapped")
def test_a_model_can_let_go_of_its_files(tmp_path: Path) -> None:
    loaded = base_models.load(written(tmp_path / "model"), "it", torch.float32, torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in loaded.state_dict().items()}
    assert str(tmp_path) in Path("/proc/self/maps").read_text(), "else there is nothing to let go"

    base_models.let_go_of_files(loaded)

    gc.collect()
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert all(torch.equal(before[name], tensor) for name, tensor in loaded.state_dict().items())
    assert loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight, "what was tied stays tied"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"intermediate_size": 48}, "another shape .*mlp"),
        ({"tie_word_embeddings": False}, "missing .*lm_head"),
        ({"num_attention_heads": 6}, "multiple of the number of attention heads"),
        ({"hidden_act": "none that we know"}, "none that we know"),
    ],
)
def test_weights_that_are_not_those_of_the_configuration_are_refused(
    tmp_path: Path, config: dict[str, object], says: str
) -> None:
    base = base_models.open_folder(written(tmp_path / "model", config=config))
    with pytest.raises(errors.BaseModelIncomplete, match=says):
        base.load(torch.float32)


def _without_a_tensor(weights: Path) -> None:
    kept = {name: tensor for name, tensor in load_file(weights).items() if "0.mlp.down_proj" not in name}
    save_file(kept, weights, metadata={"format": "pt"})


def _torn(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:5000])


@pytest.mark.parametrize(("harm", "says"), [(_without_a_tensor, "down_proj"), (_torn, "cannot be loaded")])
def test_weights_that_are_not_all_there_are_refused(tmp_path: Path, harm: Callable[[Path], None], says: str) -> None:
    folder = written(tmp_path / "model")
    harm(folder / "model.safetensors")
    with pytest.raises(errors.BaseModelIncomplete, match=says):
        base_models.open_folder(folder).load(torch.float32)


@pytest.mark.parametrize(("flags", "sound"), [({"temperature": 0.9}, True), ({"num_return_sequences": 3}, False)])
def test_generation_defaults_that_cannot_be_written_again_are_refused(
    tmp_path: Path, flags: dict[str, object], sound: bool
) -> None:
    folder = written(tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps(flags))
    base = base_models.open_folder(folder)
    if sound:
        assert base.generation_config() is not None
    else:
        with pytest.raises(errors.BaseModelIncomplete, match=r"generation_config\.json"):
            base.generation_config()


def test_what_cannot_be_the_name_of_a_repository_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(errors.BaseModelNotFound, match="acme--model/x"):
        base_models.prepare(HubModel(source="hub", id="acme--model/x"), tmp_path)
