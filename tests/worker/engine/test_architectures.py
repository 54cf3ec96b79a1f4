"""The tables that name where units live, against the models of the stock classes."""

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from jobs.families import FAMILIES
from tests.models import random_model
from worker.engine import architectures
from worker.engine.architectures import PHI3, Kind, Member, family


@pytest.mark.parametrize("name", FAMILIES)
def test_every_linear_layer_of_a_block_is_named_with_its_width(name: str) -> None:
    model, shape = random_model(model_type=name)
    row = family(shape)
    block = next(row.layers(model))
    linear = {path for path, module in block.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)}
    assert linear == set(row.linear)
    assert len(row.linear) == len(set(row.linear))
    for member in row.members:
        weight = block.get_submodule(member.path).weight
        assert isinstance(weight, torch.Tensor)
        size = weight.T.shape if row.transposed else weight.shape
        assert size[member.axis] == architectures.units(shape, member.kind) * member.channels(shape)
    assert Kind.FFN_CHANNEL in row.kinds
    assert (Kind.KV_GROUP in row.kinds) == (shape.head_counts != "fixed")


def test_both_tables_have_the_same_rows() -> None:
    assert architectures.FAMILIES.keys() == FAMILIES.keys()


def test_units_of_a_fused_matrix_lie_in_each_of_its_parts() -> None:
    _, shape = random_model(model_type="phi3", head_dim=2)  # of two query heads per KV head
    fused = next(member for member in PHI3.members if member.path == "self_attn.qkv_proj")
    # Three groups left: q is 0 to 11, four channels each; k 12 to 17 and v 18 to 23, two each.
    assert fused.places(shape, 3, [0, 2]) == [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 16, 17, 18, 19, 22, 23]
    assert isinstance(PHI3.gate(Kind.KV_GROUP), Member)
    assert PHI3.gate(Kind.KV_GROUP).places(shape, 3, [1]) == [4, 5, 6, 7]
