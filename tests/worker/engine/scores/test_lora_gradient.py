"""Scores from LoRA gradients: chunked equals whole in float64, deaf to scale, comparable from layer to layer."""

import pytest
import torch
from torch import Tensor

from tests.models import random_model
from tests.worker.engine.scores.steps import adapted_model, scored
from worker.engine.adapters import Adapted, Factors
from worker.engine.architectures import LLAMA
from worker.engine.scores.entries import Norm
from worker.engine.scores.lora_gradient import channel_scores, combined, unit_scores


def random_matrix(rows: int = 37, columns: int = 29, rank: int = 3) -> tuple[Tensor, Adapted, Factors]:
    """A frozen weight, the same with its factors, and their gradients."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    weight_OI = draw(rows, columns)
    adapted = Adapted(weight_OI.__getitem__, Factors(draw(rank, columns), draw(rows, rank)), scale=2.0)
    return weight_OI, adapted, Factors(draw(rank, columns), draw(rows, rank))


def reference(weight_OI: Tensor, adapted: Adapted, gradients: Factors, axis: int, norm: Norm) -> Tensor:
    """The definition, with full matrices in float64."""
    a, b = adapted.factors.a_RI.double(), adapted.factors.b_OR.double()
    proxy = gradients.b_OR.double() @ a + b @ gradients.a_RI.double()
    product = proxy * (weight_OI.double() + adapted.scale * b @ a)
    return {"l1": product.abs(), "l2": product**2, "sum": product}[norm].sum(dim=1 - axis)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("norm", ["l1", "l2", "sum"])
@pytest.mark.parametrize("chunk", [1, 8, 1000])
def test_chunked_scores_equal_the_full_matrices_in_float64(axis: int, norm: Norm, chunk: int) -> None:
    weight_OI, adapted, gradients = random_matrix()
    found = channel_scores(adapted, gradients, axis, norm=norm, chunk=chunk)  # type: ignore[arg-type]
    cancelled = 1e-4 if norm == "sum" else 0  # what is left of terms of opposite signs is as inexact as they are
    expected = reference(weight_OI, adapted, gradients, axis, norm)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=cancelled)


def test_a_hand_computed_score() -> None:
    # Ĝ = ∇B·A + B·∇A = [[1·2], [0·2 + 3·1]] = [[2], [3]]; W + s·BA = [[1 + 0], [−2 + 2·3·2]] = [[1], [10]]
    weight_OI = torch.tensor([[1.0], [-2.0]])
    adapted = Adapted(weight_OI.__getitem__, Factors(torch.tensor([[2.0]]), torch.tensor([[0.0], [3.0]])), scale=2.0)
    gradients = Factors(torch.tensor([[1.0]]), torch.tensor([[1.0], [0.0]]))
    assert channel_scores(adapted, gradients, 0, norm="l1").tolist() == [2.0, 30.0]
    assert channel_scores(adapted, gradients, 1, norm="l2").tolist() == pytest.approx([904.0])


def test_units_sum_their_channels() -> None:
    _, shape = random_model()  # two KV heads of 8 channels, shared by two query heads each
    query = next(member for member in LLAMA.members if member.path.endswith("q_proj"))
    weight_OI, adapted, gradients = random_matrix(rows=32, columns=32)
    (found,) = unit_scores(adapted, gradients, query, shape, norm="l1")
    by_hand = reference(weight_OI, adapted, gradients, 0, "l1").view(2, 16).sum(dim=1)
    torch.testing.assert_close(found.double(), by_hand, rtol=1e-5, atol=0)


def test_each_matrix_has_one_voice_and_the_layer_its_weight() -> None:
    loud, quiet, silent = torch.tensor([300.0, 400.0]), torch.tensor([4.0, 3.0]), torch.zeros(2)
    # Normalised: [.6, .8] + [.8, .6]; mean length (500 + 5) / 2.
    torch.testing.assert_close(combined([loud, quiet]), torch.tensor([1.4, 1.4]) * 252.5)
    assert combined([silent, silent]).tolist() == [0.0, 0.0]


def test_all_layers_and_kinds_share_one_length() -> None:
    model, shape = adapted_model()
    found = scored(model, shape, criterion="lora_gradient")
    by_layer = {kind: torch.stack([score_U.norm() for score_U in layers]) for kind, layers in found.items()}
    assert torch.cat(list(by_layer.values())).norm() == pytest.approx(1.0)
    assert all(lengths_L.std() > 0 for lengths_L in by_layer.values()), "layers keep their proportions"
