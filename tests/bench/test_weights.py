"""Parameters counted in files are those of the model that wrote them."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from transformers import PreTrainedModel

from bench.weights import block_parameters
from tests.models import random_model


@pytest.fixture
def model() -> PreTrainedModel:
    return random_model()[0]


def in_blocks(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.get_submodule("model.layers").parameters())


@pytest.mark.parametrize("shard_size", ["5GB", "20KB"])
def test_a_folder_counts_as_the_model_does(shard_size: str, model: PreTrainedModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard_size == "20KB")
    assert block_parameters(tmp_path) == in_blocks(model) > 0


def test_a_gguf_file_counts_its_blocks_alone(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    writer = GGUFWriter(file, "llama")
    for name, shape in (
        ("token_embd.weight", (7, 5)),
        ("blk.0.ffn_up.weight", (4, 5)),
        ("blk.1.attn_norm.weight", (5,)),
    ):
        writer.add_tensor(name, np.zeros(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert block_parameters(file) == 4 * 5 + 5
