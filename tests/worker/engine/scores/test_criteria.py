"""What holds for every criterion: what its scores must not depend on, and what it must leave alone."""

import pytest
import torch
from torch import nn

from jobs.criteria import Criterion
from jobs.widths import Widths
from tests.worker.engine.scores.steps import (
    SEQUENCES,
    adapted_model,
    assert_close,
    backward,
    every_criterion,
    scored,
    sequences,
    start,
)
from worker.engine import plan, surgery
from worker.engine.architectures import LLAMA, Kind
from worker.engine.plan import LayerPlan, Plan
from worker.engine.windows import IGNORED


@every_criterion
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_micro_batches_and_the_scale_of_the_loss_do_not_matter(criterion: Criterion, micro_batch: int) -> None:
    model, shape = adapted_model()
    whole = scored(model, shape, criterion=criterion)
    parts = scored(model, shape, criterion=criterion, micro_batch=micro_batch, scale=65536.0)
    assert all(score_U.std() > 0 for layers in whole.values() for score_U in layers)
    assert all(score_U.dtype == torch.float32 for layers in whole.values() for score_U in layers)
    assert_close(parts, whole)


@every_criterion
def test_clipping_does_not_matter(criterion: Criterion) -> None:
    model, shape = adapted_model()
    found = []
    for norm in (1e9, 1e-4):
        scorer = start(model, shape, criterion=criterion)
        model.zero_grad()
        backward(model, *sequences(shape.vocab))
        torch.nn.utils.clip_grad_norm_(model.parameters(), norm)
        found.append(scorer.take(Plan.dense(shape)))
        scorer.close()
    assert_close(*found)


@every_criterion
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_counts_once(criterion: Criterion, reentrant: bool) -> None:
    model, shape = adapted_model()
    plain = scored(model, shape, criterion=criterion)
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    assert_close(scored(model, shape, criterion=criterion), plain)


@every_criterion
def test_padding_does_not_count(criterion: Criterion) -> None:
    model, shape = adapted_model()
    ids_NT, labels_NT = sequences(shape.vocab)
    padding_NT = torch.full((SEQUENCES, 5), 7)
    found = []
    for ids, labels in [
        (ids_NT, labels_NT),
        (torch.cat([ids_NT, padding_NT], dim=1), torch.cat([labels_NT, torch.full_like(padding_NT, IGNORED)], dim=1)),
    ]:
        scorer = start(model, shape, criterion=criterion)
        model.zero_grad()
        backward(model, ids, labels)
        found.append(scorer.take(Plan.dense(shape)))
        scorer.close()
    assert_close(*found)


@every_criterion
def test_a_step_starts_from_nothing(criterion: Criterion) -> None:
    model, shape = adapted_model()
    scorer = start(model, shape, criterion=criterion)
    for _ in range(2):
        model.zero_grad()
        backward(model, *sequences(shape.vocab))
        with torch.no_grad():  # an evaluation in between
            model(input_ids=sequences(shape.vocab)[0])
        found = scorer.take(Plan.dense(shape))
    scorer.close()
    assert_close(found, scored(model, shape, criterion=criterion))


def hooks_of(model: nn.Module) -> list[tuple[int, int]]:
    """How many each module has before and after its forward pass."""
    return [(len(module._forward_pre_hooks), len(module._forward_hooks)) for module in model.modules()]


@every_criterion
def test_no_answer_and_no_gradient_changes_and_no_trace_is_left(criterion: Criterion) -> None:
    model, shape = adapted_model()
    ids_NT, labels_NT = sequences(shape.vocab)
    logits, gradients = [], []
    hooks = hooks_of(model)
    for watched in (False, True):
        scorer = start(model, shape, criterion=criterion) if watched else None
        model.zero_grad()
        logits.append(model(input_ids=ids_NT).logits)
        backward(model, ids_NT, labels_NT)
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.requires_grad])
        if scorer is not None:
            scorer.close()
    assert torch.equal(*logits)
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
    assert hooks_of(model) == hooks


@every_criterion
def test_scores_follow_a_cut(criterion: Criterion) -> None:
    model, shape = adapted_model(num_hidden_layers=3)
    scorer = start(model, shape, criterion=criterion)
    after = Plan((LayerPlan(0, (1,), (0, 3, 5)), LayerPlan(2, (0, 1), tuple(range(20)))))
    surgery.cut(model, LLAMA, shape, Plan.dense(shape), after, None)
    model.zero_grad()
    backward(model, *sequences(shape.vocab))
    found = scorer.take(after)
    scorer.close()
    assert [len(score_U) for score_U in found[Kind.KV_GROUP]] == [1, 2]
    assert [len(score_U) for score_U in found[Kind.FFN_CHANNEL]] == [3, 20]
    assert plan.narrow(after, found, (Widths(1, 3), Widths(1, 12))).layers[1].kv_groups in [(0,), (1,)]


@every_criterion
def test_bfloat16_ranks_nearly_as_float32_does(criterion: Criterion) -> None:
    model, shape = adapted_model()
    exact = scored(model, shape, criterion=criterion)
    with torch.autocast("cpu", torch.bfloat16):
        rough = scored(model, shape, criterion=criterion)
    for layers in zip(exact[Kind.FFN_CHANNEL], rough[Kind.FFN_CHANNEL], strict=True):
        assert torch.corrcoef(torch.stack(layers))[0, 1] > 0.98
