"""The average over steps: unbiased from the first, true to the plan, the same after a checkpoint."""

import math

import torch

from jobs import widths
from jobs.widths import Widths
from tests.models import random_model
from worker.engine import plan
from worker.engine.architectures import Kind
from worker.engine.plan import Plan
from worker.engine.scores.running_average import RunningAverage


def test_the_running_average_is_unbiased_from_the_first_step() -> None:
    average = RunningAverage(0.9)
    first, second = torch.full((2,), 3.0), torch.full((2,), 5.0)
    average.add({Kind.KV_GROUP: [first, second]})
    torch.testing.assert_close(average.value()[Kind.KV_GROUP], [first, second])
    average.add({Kind.KV_GROUP: [second, second]})
    torch.testing.assert_close(average.value()[Kind.KV_GROUP], [(0.9 * first + second) / 1.9, second])


def test_the_running_average_forgets_what_is_gone() -> None:
    _, shape = random_model(intermediate_size=4, num_hidden_layers=1)
    average = RunningAverage(0.5)
    average.add({Kind.KV_GROUP: [torch.tensor([1.0, 2.0])], Kind.FFN_CHANNEL: [torch.tensor([4.0, 1.0, 3.0, 2.0])]})
    dense = Plan.dense(shape)
    after = plan.narrow(dense, average.value(), widths.alike(shape, Widths(kv_groups=1, ffn=2)))
    average.keep(dense, after)
    assert average.value()[Kind.KV_GROUP][0].tolist() == [2.0]
    assert average.value()[Kind.FFN_CHANNEL][0].tolist() == [4.0, 3.0]


def test_a_restored_average_goes_on_as_if_nothing_had_been() -> None:
    steps = [
        {Kind.KV_GROUP: [torch.rand(2), torch.rand(2)], Kind.FFN_CHANNEL: [torch.rand(5), torch.rand(4)]}
        for _ in range(4)
    ]
    whole, first, second = RunningAverage(0.9), RunningAverage(0.9), RunningAverage(0.9)
    for scores in steps:
        whole.add(scores)
    for scores in steps[:2]:
        first.add(scores)
    second.restore(first.state(), torch.device("cpu"))
    for scores in steps[2:]:
        second.add(scores)
    for kind in Kind:
        for found_U, expected_U in zip(second.value()[kind], whole.value()[kind], strict=True):
            assert torch.equal(found_U, expected_U)
    weight = float(first.state()["weight"])
    assert math.isclose(weight, 1 - 0.9**2), "what was restored from is not what goes on"
