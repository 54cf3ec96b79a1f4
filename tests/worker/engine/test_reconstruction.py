"""Reconstruction against known answers, a float64 reference, and on a model that has learned something."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from jobs import errors
from jobs.shapes import read
from jobs.sources import LocalData
from jobs.specs import LoraSpec
from jobs.widths import Widths
from worker.engine import adapters, compensated_cut, datasets, plan, reconstruction, surgery
from worker.engine.architectures import Kind, family
from worker.engine.evaluation import perplexity
from worker.engine.plan import Plan
from worker.engine.reconstruction import Gram, correction


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def test_what_the_kept_channels_already_say_is_made_up_for_entirely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstruction, "RIDGE", 1e-9)
    kept_NS = draw(400, 5)
    inputs_NI = torch.cat([kept_NS, kept_NS @ draw(5, 3, seed=1)], dim=1)  # the last three are sums of the others
    weight_OI = draw(4, 8, seed=2)
    change_OS = correction(weight_OI, Gram.of(inputs_NI), torch.arange(5))
    before, after = inputs_NI @ weight_OI.T, kept_NS @ (weight_OI[:, :5] + change_OS.float()).T
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


def test_the_correction_is_the_ridge_solution_in_float64() -> None:
    inputs_NI = draw(800, 10) @ draw(10, 10, seed=1)
    weight_OI, kept_S = draw(6, 10, seed=2), torch.tensor([0, 2, 3, 7, 9])
    found = correction(weight_OI, Gram.of(inputs_NI), kept_S)

    shaping = inputs_NI[torch.arange(800) % reconstruction.HELD_OUT != 0].double()
    removed = torch.tensor([1, 4, 5, 6, 8])
    ridge = reconstruction.RIDGE * shaping[:, kept_S].square().sum(dim=0).mean()
    # min ‖X_P W_Pᵀ − X_S Δᵀ‖² + λ‖Δ‖² as ordinary least squares with λ's rows below.
    left = torch.cat([shaping[:, kept_S], ridge.sqrt() * torch.eye(5, dtype=torch.float64)])
    right = torch.cat([shaping[:, removed] @ weight_OI[:, removed].double().T, torch.zeros(5, 6, dtype=torch.float64)])
    torch.testing.assert_close(found, torch.linalg.lstsq(left, right).solution.T, rtol=1e-4, atol=1e-5)


def test_channels_that_say_nothing_of_each_other_are_left_alone() -> None:
    """With as many channels as tokens the solution fits noise, which the judging tokens see."""
    inputs_NI = draw(64, 60)
    change_OS = correction(draw(4, 60, seed=1), Gram.of(inputs_NI), torch.arange(50))
    assert not change_OS.any()


def test_silent_channels_change_nothing_and_broken_ones_are_an_error() -> None:
    assert not correction(draw(4, 6), Gram.of(torch.zeros(50, 6)), torch.arange(3)).any()
    with pytest.raises(errors.ScoreNotFinite):
        correction(draw(4, 6), Gram.of(torch.full((50, 6), float("nan"))), torch.arange(3))


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_compensated_cut_loses_less_than_a_plain_one(small_model: Path, small_text: Path, bfloat16: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(small_model)
    found = datasets.read(LocalData(source="local", path=str(small_text)), tokenizer, length=64, seed=0)
    calibration, held_out = found.split(0.1)

    def adapted() -> PreTrainedModel:
        model = AutoModelForCausalLM.from_pretrained(small_model)
        adapters.attach(model, fam, LoraSpec(dropout=0.0), seed=0)
        return model.eval()

    shape = read(AutoModelForCausalLM.from_pretrained(small_model).config.to_dict())
    fam = family(shape)
    scores = {
        Kind.KV_GROUP: torch.rand(shape.layers, shape.kv_heads, generator=torch.Generator().manual_seed(0)),
        Kind.FFN_CHANNEL: torch.rand(shape.layers, shape.ffn, generator=torch.Generator().manual_seed(1)),
    }
    dense = Plan.dense(shape)
    chosen = plan.narrow(dense, scores, Widths(shape.kv_heads, shape.ffn * 3 // 4))
    plain, mended = adapted(), adapted()
    surgery.cut(plain, fam, shape, dense, chosen, None)
    compensated_cut.cut(mended, fam, shape, dense, chosen, None, calibration.ids_NT[:40], bfloat16=bfloat16)

    lost = perplexity(plain, held_out, 16), perplexity(mended, held_out, 16)
    assert lost[1] < 0.97 * lost[0]
    assert {name: tensor.shape for name, tensor in plain.state_dict().items()} == {
        name: tensor.shape for name, tensor in mended.state_dict().items()
    }
    untouched = perplexity(adapted(), held_out, 16)
    assert untouched < lost[1]
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in mended.modules())
