"""Parameters counted in files are those of the model that wrote them."""

from pathlib import Path

import pytest
from torch import nn
from transformers import PreTrainedModel

from bench.weights import linear_parameters
from tests.models import random_model


@pytest.fixture
def model() -> PreTrainedModel:
    return random_model(attention_bias=True)[0]


def in_linear_layers(model: PreTrainedModel) -> int:
    layers = [module for module in model.get_submodule("model.layers").modules() if isinstance(module, nn.Linear)]
    return sum(parameter.numel() for layer in layers for parameter in layer.parameters())


@pytest.mark.parametrize("shard_size", ["5GB", "20KB"])
def test_a_folder_counts_as_the_model_does(shard_size: str, model: PreTrainedModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard_size == "20KB")
    assert linear_parameters(tmp_path) == in_linear_layers(model) > 0
