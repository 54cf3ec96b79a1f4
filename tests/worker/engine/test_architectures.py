"""The tables that name where units live."""

import torch

from tests.models import random_model
from worker.engine.architectures import LLAMA, Kind, Member, family


def test_every_linear_layer_of_a_block_is_a_member() -> None:
    model, shape = random_model()
    block = next(LLAMA.layers(model))
    linear = {name for name, module in block.named_modules() if isinstance(module, torch.nn.Linear)}
    assert linear == {member.path for member in LLAMA.members}
    assert isinstance(LLAMA.gate(Kind.KV_GROUP), Member)
    assert family(shape) is LLAMA
