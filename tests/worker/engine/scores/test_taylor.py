"""Element-wise importance against whole weight gradients in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from jobs.shapes import ModelShape
from tests.worker.engine.scores.steps import adapted_model, assert_close, scored, sequences
from worker.engine import adapters
from worker.engine.architectures import LLAMA, Kind
from worker.engine.scores import entries
from worker.engine.scores.entries import Norm

FIELDS: list[dict[str, Any]] = [{}, {"num_key_value_heads": 1}, {"head_dim": 12}, {"attention_bias": True}]


def reference(model: PreTrainedModel, shape: ModelShape, norm: Norm) -> dict[Kind, list[Tensor]]:
    """Sequence by sequence, with the gradients of all frozen weights at once."""
    layers = {
        (block, member): block.get_submodule(member.path) for block in LLAMA.layers(model) for member in LLAMA.members
    }
    for layer in layers.values():
        layer.get_base_layer().weight.requires_grad_()
    totals: dict[Any, Any] = {}
    for ids_T, labels_T in zip(*sequences(shape.vocab), strict=True):
        model.zero_grad()
        model(input_ids=ids_T[None], labels=labels_T[None], num_items_in_batch=1).loss.backward()
        for (block, member), layer in layers.items():
            entries_OI = layer.get_base_layer().weight.grad * adapters.effective(block, member)
            entries_OI = entries_OI.abs() if norm == "l1" else entries_OI.square()
            units_U = entries_OI.sum(dim=1 - member.axis).view(-1, member.channels(shape)).sum(dim=1)
            totals[member.kind, block] = totals.get((member.kind, block), 0) + units_U
    for layer in layers.values():
        layer.get_base_layer().weight.requires_grad_(False)
    length = torch.cat(list(totals.values())).norm()
    return {kind: [totals[kind, block] / length for block in LLAMA.layers(model)] for kind in Kind}


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_it_is_the_sum_over_entries_of_gradient_times_weight(fields: dict[str, Any], norm: Norm) -> None:
    model, shape = adapted_model(**fields)
    model.double()
    found = scored(model, shape, criterion="taylor", norm=norm)
    assert_close(found, reference(model, shape, norm), rtol=1e-5, atol=1e-7)


def test_chunks_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    model, shape = adapted_model()
    whole = scored(model, shape, criterion="taylor")
    monkeypatch.setitem(entries.CHUNK, "cpu", 3 * shape.hidden)
    assert_close(scored(model, shape, criterion="taylor"), whole, rtol=1e-5)


def test_dropout_of_the_adapters_does_not_touch_the_gradient_of_the_weight() -> None:
    model, shape = adapted_model()
    with_dropout, _ = adapted_model()
    for module in with_dropout.modules():
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = torch.nn.Dropout(1.0)  # nothing passes the factors
        if hasattr(module, "lora_B"):
            module.lora_B["default"].weight.data.zero_()
    for module in model.modules():
        if hasattr(module, "lora_B"):
            module.lora_B["default"].weight.data.zero_()
    assert_close(scored(with_dropout.train(), shape, criterion="taylor"), scored(model, shape, criterion="taylor"))
