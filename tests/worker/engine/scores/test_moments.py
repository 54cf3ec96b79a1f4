"""Mean and spread: merged as if at once; the criteria made of them, against their definitions in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from jobs.shapes import ModelShape
from tests.worker.engine.scores.steps import adapted_model, assert_close, backward, scored, sequences, start
from worker.engine import adapters
from worker.engine.architectures import LLAMA, Kind
from worker.engine.plan import Plan
from worker.engine.scores.moments import Moments, merged


def test_merged_parts_equal_two_passes_over_all_also_far_from_zero() -> None:
    tokens_NI = 1e3 + torch.randn(5_000, 6, generator=torch.Generator().manual_seed(0))
    parts = [Moments.of(part_nI, torch.ones(len(part_nI))) for part_nI in tokens_NI.split([1, 999, 4_000])]
    found = merged([merged(parts[:2]), parts[2]])
    exact_NI = tokens_NI.double()
    assert found.count == 5_000
    torch.testing.assert_close(found.mean_I.double(), exact_NI.mean(dim=0), rtol=1e-6, atol=0)
    torch.testing.assert_close(found.variance_I.double(), exact_NI.var(dim=0), rtol=1e-4, atol=0)
    torch.testing.assert_close(found.mean_square_I.double(), exact_NI.square().mean(dim=0), rtol=1e-6, atol=0)


def test_tokens_that_do_not_count_change_nothing() -> None:
    tokens_NI = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    counts_N = (torch.arange(40) % 3 > 0).float()
    found = merged([Moments.of(tokens_NI, counts_N), Moments.of(tokens_NI, torch.zeros(40))])
    torch.testing.assert_close(found.variance_I, tokens_NI[counts_N > 0].var(dim=0))


def captured(fields: dict[str, Any]) -> tuple[Any, ModelShape, dict[tuple[Kind, int], Tensor]]:
    """A model, and what enters its gates for the tokens that count, (N, I) float64."""
    model, shape = adapted_model(**fields)
    seen: dict[tuple[Kind, int], Tensor] = {}
    hooks = [
        block.get_submodule(LLAMA.gate(kind).path).register_forward_pre_hook(
            lambda _, inputs, place=(kind, index): seen.update({place: inputs[0]}) or inputs[0].retain_grad()
        )
        for index, block in enumerate(LLAMA.layers(model))
        for kind in Kind
    ]
    backward(model, *sequences(shape.vocab))
    for hook in hooks:
        hook.remove()
    kept = {place: hidden[(hidden.grad != 0).any(dim=-1)].detach().double() for place, hidden in seen.items()}
    assert len({len(tokens_NI) for tokens_NI in kept.values()}) > 1, "the last block knows of fewer tokens"
    return model, shape, kept


@pytest.mark.parametrize("fields", [{}, {"num_key_value_heads": 4}], ids=str)
def test_fluctuation_is_variance_times_the_columns_that_read_it(fields: dict[str, Any]) -> None:
    model, shape, kept = captured(fields)
    blocks = list(LLAMA.layers(model))
    expected: dict[Kind, list[Tensor]] = {kind: [] for kind in Kind}
    for (kind, index), tokens_NI in kept.items():
        gate = LLAMA.gate(kind)
        weight_OI = adapters.effective(blocks[index], gate).double()
        channel_I = tokens_NI.var(dim=0) * weight_OI.square().sum(dim=0)
        standard_I = (channel_I - channel_I.mean()) / channel_I.std(unbiased=False)
        expected[kind].append(standard_I.view(-1, gate.channels(shape)).mean(dim=1))
    assert_close(scored(model, shape, criterion="fluctuation"), expected)


def test_activation_is_the_root_mean_square_over_a_units_channels() -> None:
    model, shape, kept = captured({})
    expected: dict[Kind, list[Tensor]] = {kind: [] for kind in Kind}
    for (kind, _), tokens_NI in kept.items():
        square_I = tokens_NI.square().mean(dim=0)
        unit_U = square_I.view(-1, LLAMA.gate(kind).channels(shape)).mean(dim=1).sqrt()
        expected[kind].append((unit_U - square_I.sqrt().mean()) / square_I.sqrt().std(unbiased=False))
    assert_close(scored(model, shape, criterion="activation"), expected)


@pytest.mark.parametrize("criterion", ["activation", "fluctuation"])
def test_silenced_channels_do_not_shift_the_others(criterion: str) -> None:
    model, shape, _ = captured({})
    before = scored(model, shape, criterion=criterion)[Kind.FFN_CHANNEL][-1]
    dense = Plan.dense(shape)
    # As if removed already, in the last layer: what comes before it does not change.
    up = list(LLAMA.layers(model))[-1].mlp.up_proj
    up.get_base_layer().weight.data[::2] = 0
    up.lora_B["default"].weight.data[::2] = 0
    scorer = start(model, shape, criterion=criterion)
    model.zero_grad()
    backward(model, *sequences(shape.vocab))
    after = scorer.take(dense)[Kind.FFN_CHANNEL][-1]
    scorer.close()
    raw = torch.stack([before[1::2], after[1::2]])
    assert torch.corrcoef(raw)[0, 1] == pytest.approx(1.0), "the ranking of the others stays"
    assert after[1::2].mean() == pytest.approx(0.0, abs=1e-5)
    assert after[1::2].std(unbiased=False) == pytest.approx(1.0, abs=1e-4)
