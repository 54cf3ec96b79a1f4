"""Mask gradients against full weight gradients in float64, and against the loss itself."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from jobs.shapes import ModelShape
from tests.worker.engine.scores.steps import adapted_model, assert_close, scored, sequences
from worker.engine.architectures import LLAMA, Kind
from worker.engine.scores.mask_gradient import mask_gradients, token_squares

FIELDS: list[dict[str, Any]] = [{}, {"num_key_value_heads": 4}, {"num_key_value_heads": 1}, {"head_dim": 12}]


def reference(model: PreTrainedModel, shape: ModelShape, criterion: str) -> dict[Kind, list[Tensor]]:
    """Sequence by sequence, Σ G∘W over a unit's columns from whole weight gradients; squared and summed, or summed."""
    gates = {
        (kind, index): block.get_submodule(LLAMA.gate(kind).path).get_base_layer()
        for index, block in enumerate(LLAMA.layers(model))
        for kind in Kind
    }
    for gate in gates.values():
        gate.weight.requires_grad_()
    totals: dict[tuple[Kind, int], Any] = dict.fromkeys(gates, 0)
    for ids_T, labels_T in zip(*sequences(shape.vocab), strict=True):
        model.zero_grad()
        model(input_ids=ids_T[None], labels=labels_T[None], num_items_in_batch=1).loss.backward()
        for (kind, index), gate in gates.items():
            run = LLAMA.gate(kind).channels(shape)
            signed_U = (gate.weight.grad * gate.weight).sum(dim=0).view(-1, run).sum(dim=1).detach()
            totals[kind, index] = totals[kind, index] + (signed_U.square() if criterion == "mask_fisher" else signed_U)
    for gate in gates.values():
        gate.weight.requires_grad_(False)
    length = torch.cat(list(totals.values())).norm()
    return {kind: [totals[kind, index].abs() / length for index in range(shape.layers)] for kind in Kind}


@pytest.mark.parametrize("criterion", ["mask_fisher", "mask_gradient"])
@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_they_are_the_signed_sum_of_gradient_times_weight(fields: dict[str, Any], criterion: str) -> None:
    model, shape = adapted_model(**fields)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()  # so that the frozen weight is the effective one
    model.double()
    expected = reference(model, shape, criterion)
    assert_close(scored(model, shape, criterion=criterion), expected, rtol=1e-5, atol=1e-7)


def token_reference(model: PreTrainedModel, shape: ModelShape) -> dict[Kind, list[Tensor]]:
    """Sequence by sequence, the squared gradients of masks that really stand at each token of each gate's input."""
    totals: dict[tuple[Kind, int], Any] = {(kind, index): 0 for kind in Kind for index in range(shape.layers)}
    masks: dict[tuple[Kind, int], Tensor] = {}

    def mask(key: tuple[Kind, int], run: int, _: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        _, tokens, channels = inputs[0].shape
        masks[key] = torch.ones(tokens, channels // run, dtype=torch.float64, requires_grad=True)
        return (inputs[0] * masks[key].repeat_interleave(run, dim=1),)

    hooks = [
        block.get_submodule(LLAMA.gate(kind).path).register_forward_pre_hook(
            partial(mask, (kind, index), LLAMA.gate(kind).channels(shape))
        )
        for index, block in enumerate(LLAMA.layers(model))
        for kind in Kind
    ]
    for ids_T, labels_T in zip(*sequences(shape.vocab), strict=True):
        model(input_ids=ids_T[None], labels=labels_T[None], num_items_in_batch=1).loss.backward()
        for key, mask_TU in masks.items():
            assert mask_TU.grad is not None
            totals[key] = totals[key] + mask_TU.grad.square().sum(dim=0)
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    length = torch.cat(list(totals.values())).norm()
    return {kind: [totals[kind, index] / length for index in range(shape.layers)] for kind in Kind}


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_those_of_tokens_are_the_gradients_of_masks_at_each_token(fields: dict[str, Any]) -> None:
    model, shape = adapted_model(**fields)
    model.double()
    expected = token_reference(model, shape)
    assert_close(scored(model, shape, criterion="token_fisher"), expected, rtol=1e-5, atol=1e-7)


def test_they_tell_what_the_loss_does_when_a_unit_is_turned_down() -> None:
    torch.manual_seed(0)
    weight_OI, hidden_BTI = torch.randn(5, 6).double(), torch.randn(3, 7, 6).double().requires_grad_()

    def loss(mask_BU: Tensor) -> Tensor:
        return ((hidden_BTI * mask_BU.repeat_interleave(2, dim=1)[:, None]) @ weight_OI.T).tanh().sum()

    mask_BU = torch.ones(3, 3).double().requires_grad_()
    (expected_BU,) = torch.autograd.grad(loss(mask_BU), mask_BU)
    (gradient_BTI,) = torch.autograd.grad(loss(torch.ones(3, 3).double()), hidden_BTI)
    torch.testing.assert_close(mask_gradients(hidden_BTI.detach(), gradient_BTI, 2), expected_BU)


def test_what_a_unit_does_for_one_token_and_against_another_does_not_cancel_out_by_token() -> None:
    hidden_NI, gradient_NI = torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.tensor([[3.0, 1.0], [-3.0, -1.0]])
    torch.testing.assert_close(mask_gradients(hidden_NI[None], gradient_NI[None], 2), torch.zeros(1, 1))
    torch.testing.assert_close(token_squares(hidden_NI, gradient_NI, 2), torch.tensor([50.0]))
