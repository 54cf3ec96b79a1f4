"""Scores: chunked equals whole in float64, deaf to scale, and the schedule's known values."""

import pytest
import torch
from torch import Tensor

from jobs import errors
from jobs.specs import LoraSpec, ScheduleSpec
from jobs.widths import Widths
from tests.models import random_model
from worker.engine import adapters, plan, schedule
from worker.engine.architectures import LLAMA, Kind, Member, family
from worker.engine.plan import Plan
from worker.engine.scores import Adapted, Norm, RunningAverage, channel_scores, layer_scores, unit_scores


def random_matrix(rows: int = 37, columns: int = 29, rank: int = 3) -> Adapted:
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    return Adapted(
        weight_OI=draw(rows, columns),
        a_RI=draw(rank, columns),
        b_OR=draw(rows, rank),
        grad_a_RI=draw(rank, columns),
        grad_b_OR=draw(rows, rank),
        scale=2.0,
    )


def reference(adapted: Adapted, axis: int, norm: Norm) -> Tensor:
    """The definition, with full matrices in float64."""
    a, b = adapted.a_RI.double(), adapted.b_OR.double()
    proxy = adapted.grad_b_OR.double() @ a + b @ adapted.grad_a_RI.double()
    product = proxy * (adapted.weight_OI.double() + adapted.scale * b @ a)
    return (product.abs() if norm == "l1" else product**2).sum(dim=1 - axis)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("chunk", [1, 8, 1000])
def test_chunked_scores_equal_the_full_matrices_in_float64(axis: int, norm: Norm, chunk: int) -> None:
    adapted = random_matrix()
    found = channel_scores(adapted, axis, norm=norm, chunk=chunk)  # type: ignore[arg-type]
    torch.testing.assert_close(found.double(), reference(adapted, axis, norm), rtol=1e-5, atol=1e-6)


def test_a_hand_computed_score() -> None:
    # Ĝ = ∇B·A + B·∇A = [[1·2], [0·2 + 3·1]] = [[2], [3]]; W + s·BA = [[1 + 0], [−2 + 2·3·2]] = [[1], [10]]
    adapted = Adapted(
        weight_OI=torch.tensor([[1.0], [-2.0]]),
        a_RI=torch.tensor([[2.0]]),
        b_OR=torch.tensor([[0.0], [3.0]]),
        grad_a_RI=torch.tensor([[1.0]]),
        grad_b_OR=torch.tensor([[1.0], [0.0]]),
        scale=2.0,
    )
    assert channel_scores(adapted, 0, norm="l1").tolist() == [2.0, 30.0]
    assert channel_scores(adapted, 1, norm="l2").tolist() == [904.0]


def test_units_sum_their_channels_and_have_length_one() -> None:
    _, shape = random_model()  # two KV heads of 8 channels, shared by two query heads each
    query = next(member for member in LLAMA.members if member.name == "q_proj")
    adapted = random_matrix(rows=32, columns=32)
    found = unit_scores(adapted, query, shape, norm="l1")
    by_hand = reference(adapted, 0, "l1").view(2, 16).sum(dim=1)
    torch.testing.assert_close(found.double(), by_hand / by_hand.norm(), rtol=1e-5, atol=1e-7)


def trained_step(loss_scale: float) -> dict[Kind, Tensor]:
    model, shape = random_model()
    torch.manual_seed(1)
    adapters.attach(model, family(shape), LoraSpec(dropout=0.0), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.arange(48).view(2, 24)
    (model(input_ids=ids, labels=ids).loss * loss_scale).backward()
    return layer_scores(adapters.read(next(LLAMA.layers(model)), LLAMA), shape, norm="l1")


def test_scores_do_not_hear_the_scale_of_the_loss() -> None:
    plain, scaled = trained_step(1.0), trained_step(65536.0)
    for kind in Kind:
        assert plain[kind].std() > 0
        torch.testing.assert_close(plain[kind], scaled[kind])


def test_the_running_average_is_unbiased_from_the_first_step() -> None:
    average = RunningAverage(0.9)
    first, second = torch.full((2,), 3.0), torch.full((2,), 5.0)
    average.add({Kind.KV_GROUP: [first, second]})
    torch.testing.assert_close(average.value()[Kind.KV_GROUP], [first, second])
    average.add({Kind.KV_GROUP: [second, second]})
    torch.testing.assert_close(average.value()[Kind.KV_GROUP], [(0.9 * first + second) / 1.9, second])


def test_the_lowest_scores_go() -> None:
    _, shape = random_model(intermediate_size=4, num_hidden_layers=1)
    scores = {Kind.KV_GROUP: torch.tensor([[1.0, 2.0]]), Kind.FFN_CHANNEL: torch.tensor([[4.0, 1.0, 3.0, 1.0]])}
    first = plan.narrow(Plan.dense(shape), scores, Widths(kv_groups=2, ffn=3))
    assert first.layers[0].ffn_channels == (0, 1, 2), "of equal scores the lower index stays"
    left = {Kind.KV_GROUP: torch.tensor([[1.0, 2.0]]), Kind.FFN_CHANNEL: torch.tensor([[1.0, 5.0, 3.0]])}
    second = plan.narrow(first, left, Widths(kv_groups=1, ffn=2))
    assert second.layers[0].ffn_channels == (1, 2)
    assert second.layers[0].kv_groups == (1,)
    assert Plan.from_json(second.to_json()) == second


def test_the_running_average_forgets_what_is_gone() -> None:
    _, shape = random_model(intermediate_size=4, num_hidden_layers=1)
    average = RunningAverage(0.5)
    average.add({Kind.KV_GROUP: [torch.tensor([1.0, 2.0])], Kind.FFN_CHANNEL: [torch.tensor([4.0, 1.0, 3.0, 2.0])]})
    dense = Plan.dense(shape)
    after = plan.narrow(dense, average.value(), Widths(kv_groups=1, ffn=2))
    average.keep(dense, after)
    assert average.value()[Kind.KV_GROUP][0].tolist() == [2.0]
    assert average.value()[Kind.FFN_CHANNEL][0].tolist() == [4.0, 3.0]


def test_a_score_that_is_not_a_number_is_an_error_with_its_place() -> None:
    _, shape = random_model()
    scores = {Kind.KV_GROUP: [torch.ones(2)] * 2, Kind.FFN_CHANNEL: [torch.ones(40), torch.ones(40)]}
    scores[Kind.FFN_CHANNEL][1][7] = float("nan")
    with pytest.raises(errors.ScoreNotFinite, match="ffn_channels in layer 1"):
        plan.narrow(Plan.dense(shape), scores, Widths(1, 24))


def test_the_cubic_ramp_has_its_known_values() -> None:
    spec = ScheduleSpec(warmup_fraction=0.1, cooldown_fraction=0.1)
    found = [0.5 * schedule.fraction(step, 1000, spec) for step in (100, 200, 300, 400, 500, 700, 900, 1000)]
    # τ = 1/8, 1/4, … : ½(1 − (7/8)³) = 0.16504, ½(1 − (3/4)³) = 0.28906, …
    assert found == pytest.approx([0, 0.16504, 0.28906, 0.37793, 0.4375, 0.49219, 0.5, 0.5], abs=1e-5)


@pytest.mark.parametrize("total", [1, 2, 7, 60, 1000])
@pytest.mark.parametrize("every", [1, 10])
def test_the_last_event_is_inside_the_run_and_reaches_the_target(total: int, every: int) -> None:
    spec = ScheduleSpec(prune_every_steps=every)
    events = [step for step in range(1, total + 1) if schedule.is_event(step, total, spec)]
    assert events[-1] == schedule.last_event(total, spec) <= total
    assert schedule.fraction(events[-1], total, spec) == 1.0


def test_every_linear_layer_of_a_block_is_a_member() -> None:
    model, shape = random_model()
    block = next(LLAMA.layers(model))
    linear = {name for name, module in block.named_modules() if isinstance(module, torch.nn.Linear)}
    assert linear == {member.path for member in LLAMA.members}
    assert isinstance(LLAMA.gate(Kind.KV_GROUP), Member)
    assert family(shape) is LLAMA
