"""The criteria that look at no text: magnitude and chance."""

import pytest
import torch

from tests.worker.engine.scores.steps import adapted_model, assert_close, start
from worker.engine import adapters
from worker.engine.architectures import LLAMA, Kind
from worker.engine.plan import LayerPlan, Plan
from worker.engine.scores.chance import Chance
from worker.engine.scores.entries import Norm


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_magnitude_is_the_sum_over_the_effective_weights_of_a_unit(norm: Norm) -> None:
    model, shape = adapted_model()
    order = 1 if norm == "l1" else 2
    expected: dict[Kind, list[torch.Tensor]] = {kind: [] for kind in Kind}
    for block in LLAMA.layers(model):
        for kind in Kind:
            parts = [
                weight_OI.double().abs().pow(order).sum(dim=1 - member.axis).view(-1, member.channels(shape))
                for member in LLAMA.of(kind)
                for weight_OI in [adapters.effective(block, member)]
            ]
            expected[kind].append(torch.cat(parts, dim=1).sum(dim=1))
    length = torch.cat([score_U for layers in expected.values() for score_U in layers]).norm()
    expected = {kind: [score_U / length for score_U in layers] for kind, layers in expected.items()}
    assert_close(start(model, shape, criterion="magnitude", norm=norm).take(Plan.dense(shape)), expected)


def test_chance_is_one_order_per_seed_that_a_cut_does_not_shuffle() -> None:
    model, shape = adapted_model()
    dense = Plan.dense(shape)
    first, again, other = (Chance(model, shape, seed=seed) for seed in (1, 1, 2))
    assert_close(first.take(dense), again.take(dense), rtol=0, atol=0)
    assert not torch.equal(first.take(dense)[Kind.FFN_CHANNEL][0], other.take(dense)[Kind.FFN_CHANNEL][0])
    after = Plan((LayerPlan(1, (1,), (4, 7)),))
    assert torch.equal(first.take(after)[Kind.FFN_CHANNEL][0], first.take(dense)[Kind.FFN_CHANNEL][1][[4, 7]])
