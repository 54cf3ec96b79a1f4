"""The distilled loss and its gradient against plain float64 autograd."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from worker.engine import distilled_loss, training_loss
from worker.engine.distilled_loss import Best, Mix
from worker.engine.teachers import Ask, Heard, Said, Teaching

B, T, V = 3, 9, 11


def case(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    student, teacher = (3 * torch.randn(B, T, V, generator=generator, dtype=torch.float64) for _ in range(2))
    ids_BT = torch.randint(V, (B, T), generator=generator)
    labels_BT = torch.where(torch.rand(B, T, generator=generator) < 0.3, -100, ids_BT)
    return student.to(dtype), teacher.to(dtype), ids_BT, labels_BT


def slow(student_BTV: Tensor, teacher_BTV: Tensor, labels_BT: Tensor, mix: Mix, top_k: int | None) -> Tensor:
    """Token by token, as the formula reads; with `top_k` the rest is one outcome."""
    total = student_BTV.new_zeros(())
    for row in range(B):
        for place in range(T - 1):
            label = labels_BT[row, place + 1]
            if label < 0:
                continue
            p_V = functional.softmax(student_BTV[row, place] / mix.temperature, dim=0)
            q_V = functional.softmax(teacher_BTV[row, place] / mix.temperature, dim=0)
            if top_k is not None:
                order = q_V.argsort(descending=True)
                p_V, q_V = (
                    torch.cat([full_V[order[:top_k]], full_V[order[top_k:]].sum()[None]]) for full_V in (p_V, q_V)
                )
            divergence = torch.sum(q_V * (q_V.log() - p_V.log()))
            entropy = -functional.log_softmax(student_BTV[row, place], dim=0)[label]
            total = total + (1 - mix.weight) * entropy + mix.weight * mix.temperature**2 * divergence
    return total


def beliefs(teacher_BTV: Tensor, mix: Mix, top_k: int | None) -> list[Said]:
    if top_k is None:
        return [Heard(teacher_TV, bare) for teacher_TV in teacher_BTV]
    best = (teacher_BTV / mix.temperature).log_softmax(dim=-1).topk(top_k)
    return [Best(*pair) for pair in zip(best.values, best.indices, strict=True)]


def bare(logits_tV: Tensor) -> Tensor:
    """A head that has nothing to do."""
    return logits_tV


def distilled(logits_BTV: Tensor, ids_BT: Tensor, labels_BT: Tensor, items: int, ask: Ask, mix: Mix) -> Tensor:
    """Of a model that has nothing behind its decoder, so that its answers are logits."""
    teaching, numbers_B = Teaching(ask, mix), torch.arange(len(ids_BT))
    return training_loss.behind(bare, logits_BTV, ids_BT, labels_BT, items, teaching=teaching, numbers_B=numbers_B)


@pytest.mark.parametrize("top_k", [None, 1, 4, V - 1])
@pytest.mark.parametrize("mix", [Mix(0.5, 1.0), Mix(0.3, 2.0), Mix(1.0, 0.7), Mix(0.0, 1.0)], ids=str)
def test_loss_and_gradient_are_the_formulas(mix: Mix, top_k: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_loss, "TOKENS", 3)  # several pieces per sequence,
    monkeypatch.setattr(distilled_loss, "CACHED", 2 * V)  # and of each piece
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    student_BTV, teacher_BTV, ids_BT, labels_BT = case()
    ours_BTV, theirs_BTV = (student_BTV.clone().requires_grad_() for _ in range(2))
    given = beliefs(teacher_BTV, mix, top_k)

    def ask(asked_BT: Tensor, numbers_B: Tensor | None) -> list[Said]:
        assert numbers_B is not None
        return [given[number] for number in numbers_B.tolist()]

    ours = distilled(ours_BTV, ids_BT, labels_BT, 7, ask, mix)
    theirs = slow(theirs_BTV, teacher_BTV, labels_BT, mix, top_k) / 7
    ours.backward()
    theirs.backward()

    assert torch.allclose(ours, theirs, rtol=1e-12)
    assert ours_BTV.grad is not None
    assert theirs_BTV.grad is not None
    assert torch.allclose(ours_BTV.grad, theirs_BTV.grad, rtol=1e-10, atol=1e-13)


def test_all_tokens_named_is_the_whole_belief_even_where_nothing_is_left() -> None:
    student_BTV, teacher_BTV, ids_BT, labels_BT = case(torch.float32)
    mix = Mix(0.6, 2.0)
    found = []
    for top_k in (None, V):
        leaf_BTV = student_BTV.clone().requires_grad_()
        distilled(
            leaf_BTV,
            ids_BT,
            labels_BT,
            1,
            lambda *_, k=top_k: beliefs(teacher_BTV, mix, k),
            mix,
        ).backward()
        assert leaf_BTV.grad is not None
        found.append(leaf_BTV.grad)
    assert bool(found[1].isfinite().all())
    assert torch.allclose(found[0], found[1], atol=1e-5)


def test_a_student_that_believes_what_its_teacher_does_has_nothing_to_learn_from_it() -> None:
    _, teacher_BTV, ids_BT, labels_BT = case()
    mix = Mix(1.0, 2.0)
    for top_k in (None, 4):
        leaf_BTV = teacher_BTV.clone().requires_grad_()
        loss = distilled(leaf_BTV, ids_BT, labels_BT, 1, lambda *_, k=top_k: beliefs(teacher_BTV, mix, k), mix)
        loss.backward()
        assert leaf_BTV.grad is not None
        assert abs(float(loss)) < 1e-12
        assert float(leaf_BTV.grad.abs().max()) < 1e-12
