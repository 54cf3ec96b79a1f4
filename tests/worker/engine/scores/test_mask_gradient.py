"""Mask gradients against full weight gradients in float64, and what they must not depend on."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from jobs.shapes import ModelShape
from tests.models import random_model
from worker.engine.architectures import LLAMA, Kind
from worker.engine.plan import Plan, Scores
from worker.engine.scores.mask_gradient import MaskGradient, Order
from worker.engine.windows import IGNORED

SHAPES: list[dict[str, Any]] = [{}, {"num_key_value_heads": 4}, {"num_key_value_heads": 1}, {"head_dim": 12}]
ORDERS: list[Order] = ["fisher", "first"]


def sequences(vocab: int, count: int = 4) -> tuple[Tensor, Tensor]:
    """Ids and labels; each sequence has another number of tokens that are learned."""
    ids_NT = torch.randint(vocab, (count, 20), generator=torch.Generator().manual_seed(0))
    labels_NT = ids_NT.clone()
    for row, labels_T in enumerate(labels_NT):
        labels_T[: 4 * row] = IGNORED
    return ids_NT, labels_NT


def collected(
    model: PreTrainedModel, shape: ModelShape, order: Order, *, micro_batch: int = 4, scale: float = 1.0
) -> Scores:
    """The scores of one step, whose loss is divided as the Trainer divides it: by the learned tokens of the batch."""
    ids_NT, labels_NT = sequences(shape.vocab)
    learned = (labels_NT[:, 1:] != IGNORED).sum()
    scorer = MaskGradient(model, LLAMA, shape, order=order)
    for ids_BT, labels_BT in zip(ids_NT.split(micro_batch), labels_NT.split(micro_batch), strict=True):
        loss = model(input_ids=ids_BT, labels=labels_BT, num_items_in_batch=learned).loss
        (loss * scale).backward()
    found = scorer.take(Plan.dense(shape))
    scorer.close()
    return found


def reference(model: PreTrainedModel, shape: ModelShape, order: Order) -> dict[Kind, list[Tensor]]:
    """From whole weight gradients, sequence by sequence: Σ G∘W over a unit's columns, squared and summed or summed."""
    totals: dict[tuple[Kind, int], Tensor] = {}
    for ids_T, labels_T in zip(*sequences(shape.vocab), strict=True):
        model.zero_grad()
        model(input_ids=ids_T[None], labels=labels_T[None], num_items_in_batch=1).loss.backward()
        for index, block in enumerate(LLAMA.layers(model)):
            for kind in Kind:
                gate = LLAMA.gate(kind)
                weight = block.get_submodule(gate.path).weight
                signed_U = (weight.grad * weight).sum(dim=0).view(-1, gate.channels(shape)).sum(dim=1)
                found_U = signed_U.square() if order == "fisher" else signed_U
                totals[kind, index] = totals.get((kind, index), 0) + found_U.detach()
    length = torch.cat(list(totals.values())).norm()
    return {kind: [totals[kind, index].abs() / length for index in range(shape.layers)] for kind in Kind}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("fields", SHAPES, ids=str)
def test_they_are_the_signed_sum_of_gradient_times_weight(fields: dict[str, Any], order: Order) -> None:
    model, shape = random_model(**fields)
    model.double()
    found, expected = collected(model, shape, order), reference(model, shape, order)
    for kind in Kind:
        assert all(score_U.dtype == torch.float32 for score_U in found[kind])
        exact = [score_U.double() for score_U in found[kind]]
        torch.testing.assert_close(exact, expected[kind], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_micro_batches_and_the_scale_of_the_loss_do_not_matter(order: Order, micro_batch: int) -> None:
    model, shape = random_model()
    whole = collected(model, shape, order)
    parts = collected(model, shape, order, micro_batch=micro_batch, scale=65536.0)
    for kind in Kind:
        assert all(score_U.std() > 0 for score_U in whole[kind])
        torch.testing.assert_close(whole[kind], parts[kind], rtol=1e-4, atol=1e-6)


def test_a_step_starts_from_nothing() -> None:
    model, shape = random_model()
    scorer = MaskGradient(model, LLAMA, shape, order="first")
    ids_NT, labels_NT = sequences(shape.vocab)
    for _ in range(2):
        model(input_ids=ids_NT, labels=labels_NT).loss.backward()
        found = scorer.take(Plan.dense(shape))
    for kind in Kind:
        torch.testing.assert_close(found[kind], collected(model, shape, "first")[kind])


def test_they_change_no_answer_and_leave_no_trace() -> None:
    model, shape = random_model()
    ids_NT, labels_NT = sequences(shape.vocab)
    before = model(input_ids=ids_NT, labels=labels_NT)
    before.loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    scorer = MaskGradient(model, LLAMA, shape, order="fisher")
    after = model(input_ids=ids_NT, labels=labels_NT)
    after.loss.backward()
    assert torch.equal(after.logits, before.logits)
    assert all(torch.equal(parameter.grad, gradients[name]) for name, parameter in model.named_parameters())
    with torch.no_grad():
        model(input_ids=ids_NT)
    scorer.close()
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_counts_once(reentrant: bool) -> None:
    model, shape = random_model()
    plain = collected(model, shape, "fisher")
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    again = collected(model, shape, "fisher")
    for kind in Kind:
        torch.testing.assert_close(plain[kind], again[kind])


def test_bfloat16_is_summed_in_float32() -> None:
    model, shape = random_model()
    exact = collected(model, shape, "first")
    rough = collected(model.bfloat16(), shape, "first")
    for kind in Kind:
        torch.testing.assert_close(rough[kind], exact[kind], rtol=0, atol=0.05)
