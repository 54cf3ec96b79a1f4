"""Mask gradients against full weight gradients in float64, and what they must not depend on."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.models import random_model
from worker.engine.architectures import LLAMA, Kind
from worker.engine.mask_gradients import MaskGradients

SHAPES: list[dict[str, Any]] = [{}, {"num_key_value_heads": 4}, {"num_key_value_heads": 1}, {"head_dim": 12}]


def sequences(vocab: int, count: int = 3) -> Tensor:
    return torch.randint(vocab, (count, 20), generator=torch.Generator().manual_seed(0))


def collected(model: PreTrainedModel, gradients: MaskGradients, batches: list[Tensor], scale: float = 1.0) -> Any:
    for ids_BT in batches:
        (model(input_ids=ids_BT, labels=ids_BT).loss * scale).backward()
    return gradients.take()


def reference(model: PreTrainedModel, kind: Kind, run: int, ids_NT: Tensor) -> list[Tensor]:
    """Σ over sequences of (Σ G∘W over a unit's columns)², from whole weight gradients."""
    rows: list[Tensor] = []
    for block in LLAMA.layers(model):
        weight = block.get_submodule(LLAMA.gate(kind).path).weight
        total = torch.zeros(())
        for ids_T in ids_NT:
            model.zero_grad()
            model(input_ids=ids_T[None], labels=ids_T[None]).loss.backward()
            total = total + (weight.grad * weight).sum(dim=0).view(-1, run).sum(dim=1).square()
        rows.append(total)
    return [score_U / score_U.norm() for score_U in rows]


@pytest.mark.parametrize("fields", SHAPES, ids=str)
def test_they_are_the_signed_sum_of_gradient_times_weight(fields: dict[str, Any]) -> None:
    model, shape = random_model(**fields)
    model.double()
    ids_NT = sequences(shape.vocab)
    gradients = MaskGradients(model, LLAMA, shape)
    found = collected(model, gradients, [ids_NT])
    gradients.close()
    for kind in Kind:
        expected = reference(model, kind, LLAMA.gate(kind).channels(shape), ids_NT)
        torch.testing.assert_close([score_U.double() for score_U in found[kind]], expected, rtol=1e-5, atol=1e-7)


def test_micro_batches_and_the_scale_of_the_loss_do_not_matter() -> None:
    model, shape = random_model()
    ids_NT = sequences(shape.vocab, 4)
    gradients = MaskGradients(model, LLAMA, shape)
    whole = collected(model, gradients, [ids_NT])
    parts = collected(model, gradients, list(ids_NT.split(1)), scale=65536.0)
    for kind in Kind:
        assert all(score_U.std() > 0 for score_U in whole[kind])
        torch.testing.assert_close(whole[kind], parts[kind], rtol=1e-4, atol=1e-6)


def test_they_change_no_answer_and_leave_no_trace() -> None:
    model, shape = random_model()
    ids_NT = sequences(shape.vocab)
    before = model(input_ids=ids_NT).logits
    gradients = MaskGradients(model, LLAMA, shape)
    assert torch.equal(model(input_ids=ids_NT).logits, before)
    gradients.close()
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_gradient_checkpointing_counts_once() -> None:
    model, shape = random_model()
    ids_NT = sequences(shape.vocab)
    gradients = MaskGradients(model, LLAMA, shape)
    plain = collected(model, gradients, [ids_NT])
    model.train()
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    again = collected(model, gradients, [ids_NT])
    for kind in Kind:
        torch.testing.assert_close(plain[kind], again[kind])
