"""Parameters counted in files are those of the model that wrote them."""

from pathlib import Path

import pytest
from torch import nn

from bench.weights import block_parameters
from tests.models import random_model


@pytest.mark.parametrize("shard_size", ["5GB", "20KB"])
def test_a_folder_counts_as_the_model_does(shard_size: str, tmp_path: Path) -> None:
    model, shape = random_model(attention_bias=True)
    model.save_pretrained(tmp_path, max_shard_size=shard_size)
    blocks = model.get_submodule("model.layers")
    layers = [module for module in blocks.modules() if isinstance(module, nn.Linear)]
    in_model = sum(parameter.numel() for layer in layers for parameter in layer.parameters())
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard_size == "20KB")
    assert block_parameters(tmp_path) == in_model == shape.block_parameters
