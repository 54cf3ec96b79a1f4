"""Reconstruction against known answers, a float64 reference, and on a model that has learned something."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from jobs import errors, widths
from jobs.shapes import read
from jobs.sources import LocalData
from jobs.specs import LoraSpec
from jobs.widths import Widths
from worker.engine import adapters, compensated_cut, datasets, plan, reconstruction, surgery
from worker.engine.architectures import Kind, family
from worker.engine.evaluation import perplexity
from worker.engine.plan import Plan
from worker.engine.reconstruction import SecondMoments, correction


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def moments(inputs_NS: Tensor, errors_NO: Tensor) -> SecondMoments:
    found = SecondMoments(inputs_NS.shape[1], errors_NO.shape[1], inputs_NS.device, window=len(inputs_NS))
    found.add(inputs_NS, errors_NO)
    return found


def test_what_the_kept_channels_already_say_is_made_up_for_entirely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstruction, "RIDGE", 1e-9)
    inputs_NS = draw(400, 5)
    lost_NO = inputs_NS @ draw(5, 3, seed=1) @ draw(3, 4, seed=2)  # three channels, each a sum of the kept ones
    torch.testing.assert_close(
        inputs_NS @ correction(moments(inputs_NS, lost_NO)).float().T, lost_NO, rtol=1e-4, atol=1e-4
    )


def test_the_correction_is_the_ridge_solution_in_float64() -> None:
    all_NI = draw(800, 10) @ draw(10, 10, seed=1)
    inputs_NS, errors_NO = all_NI[:, :5], all_NI[:, 5:] @ draw(5, 6, seed=2)
    found = correction(moments(inputs_NS, errors_NO))

    shaping = torch.arange(800) % reconstruction.HELD_OUT != 0
    ridge = reconstruction.RIDGE * inputs_NS[shaping].double().square().sum(dim=0).mean()
    # min ‖E − X Δᵀ‖² + λ‖Δ‖² as ordinary least squares with λ's rows below.
    left = torch.cat([inputs_NS[shaping].double(), ridge.sqrt() * torch.eye(5, dtype=torch.float64)])
    right = torch.cat([errors_NO[shaping].double(), torch.zeros(5, 6, dtype=torch.float64)])
    torch.testing.assert_close(found, torch.linalg.lstsq(left, right).solution.T, rtol=1e-4, atol=1e-5)


def test_what_only_first_tokens_say_is_made_up_for_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the few channels that make the attention sink are silent but for the first token of each window."""
    monkeypatch.setattr(reconstruction, "RIDGE", 1e-9)
    windows, tokens = 10, 2 * reconstruction.HELD_OUT
    inputs_WTS = draw(windows, tokens, 4)
    inputs_WTS[:, 1:, 0] = 0.0
    inputs_WTS[:, 0, 0] *= 100.0
    inputs_NS, missing_OS = inputs_WTS.flatten(0, 1), draw(3, 4, seed=1)
    found = SecondMoments(4, 3, inputs_NS.device, window=tokens)
    found.add(inputs_NS, inputs_NS @ missing_OS.T)
    torch.testing.assert_close(correction(found).float(), missing_OS, rtol=1e-4, atol=1e-4)


def test_silent_channels_are_as_if_they_were_not_there() -> None:
    inputs_NS, errors_NO = draw(200, 4), draw(200, 3, seed=1) + draw(200, 4) @ draw(4, 3, seed=2)
    found = correction(moments(torch.cat([inputs_NS, torch.zeros(200, 2)], dim=1), errors_NO))
    torch.testing.assert_close(found[:, :4], correction(moments(inputs_NS, errors_NO)), rtol=1e-5, atol=1e-6)
    assert not found[:, 4:].any()


def test_inputs_that_say_nothing_of_the_errors_are_left_alone() -> None:
    """With as many channels as tokens the solution fits noise, which the judging tokens see."""
    assert not correction(moments(draw(64, 50), draw(64, 4, seed=1))).any()


def test_silence_changes_nothing_and_broken_activations_are_an_error() -> None:
    assert not correction(moments(torch.zeros(50, 6), draw(50, 4))).any()
    for inputs_NS, errors_NO in ((torch.full((50, 6), torch.nan), draw(50, 4)), (draw(50, 6), draw(50, 4) / 0)):
        with pytest.raises(errors.ScoreNotFinite):
            correction(moments(inputs_NS, errors_NO))


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
    chosen = plan.narrow(dense, scores, widths.alike(shape, Widths(shape.kv_heads - 1, shape.ffn * 3 // 4)))
    plain = adapted()
    surgery.cut(plain, fam, shape, dense, chosen, None)
    sizes = {name: tensor.shape for name, tensor in plain.state_dict().items()}
    lost = {"plain": perplexity(plain, held_out, 16)}

    @torch.inference_mode()
    def distance(model: PreTrainedModel) -> float:
        """Of the stream behind the last block from where it was, on text that no solve has seen."""
        whole, cut = (tested.get_decoder()(held_out.ids_NT[:8].long())[0] for tested in (adapted(), model))
        return float((whole - cut).norm())

    apart: dict[str, float] = {}
    aims: tuple[Literal["layer", "stream"], ...] = ("layer", "stream")
    for aim in aims:
        mended = adapted()
        compensated_cut.cut(
            mended, fam, shape, dense, chosen, None, calibration.ids_NT[:100], bfloat16=bfloat16, aim=aim
        )
        lost[aim] = perplexity(mended, held_out, 16)
        assert {name: tensor.shape for name, tensor in mended.state_dict().items()} == sizes
        assert not any(module._forward_pre_hooks or module._forward_hooks for module in mended.modules())
        apart[aim] = distance(mended)
    assert perplexity(adapted(), held_out, 16) < lost["stream"]
    assert max(lost["layer"], lost["stream"]) < 0.97 * lost["plain"]
    assert apart["stream"] < 0.97 * apart["layer"]
