"""Weights in 8 and 4 bits: how far they may be off, that cutting adds nothing to it, and a whole job on them."""

import sys
from pathlib import Path
from typing import Literal

import pytest
import torch
from bitsandbytes import functional as bnb
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from jobs import errors, widths
from jobs.criteria import Criterion
from jobs.specs import LoraSpec
from jobs.widths import Widths
from tests.models import byte_tokenizer, random_model
from tests.worker.engine.masks import Masks
from tests.worker.engine.scores.steps import assert_close, backward, sequences, start
from tests.worker.engine.test_pipeline import run, spec_for
from worker.engine import adapters, export, plan, quantised, surgery, verification
from worker.engine.architectures import Kind, family, units
from worker.engine.plan import Plan, Scores
from worker.engine.quantised import BLOCK, Precision, QuantisedLinear

PRECISIONS: list[Precision] = ["int8", "nf4"]
AXES: list[Literal[0, 1]] = [0, 1]


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("axis", AXES)
def test_a_weight_is_off_by_half_a_step_of_its_block_at_most(precision: Precision, axis: Literal[0, 1]) -> None:
    weight_OI = draw(128, 192)
    layer = QuantisedLinear(weight_OI, None, precision, axis)
    levels = bnb.get_4bit_type("nf4", device="cpu") if precision == "nf4" else torch.linspace(-1, 1, 255)
    half_step = float(levels.sort().values.diff().max()) / 2
    stored, found = (tensor if axis == 0 else tensor.T for tensor in (weight_OI, layer.weight))
    largest = stored.unflatten(1, (-1, BLOCK)).abs().amax(dim=2, keepdim=True)
    off = (found - stored).unflatten(1, (-1, BLOCK)).abs()
    assert bool((off <= half_step * largest * 1.01).all())
    assert float(off.max()) > 0


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("axis", AXES)
def test_a_part_is_the_same_part_of_the_whole(precision: Precision, axis: Literal[0, 1]) -> None:
    layer = QuantisedLinear(draw(192, 128), None, precision, axis)
    for part in (slice(0, 64), slice(10, 77), slice(100, 400), slice(191, 192)):
        assert torch.equal(layer.rows(part), layer.weight[part])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("axis", AXES)
def test_it_computes_what_its_weight_does(precision: Precision, axis: Literal[0, 1]) -> None:
    layer = QuantisedLinear(draw(128, 64), nn.Parameter(draw(128, seed=1)), precision, axis)
    inputs = draw(2, 5, 64, seed=2).requires_grad_()
    wanted = inputs.detach().clone().requires_grad_()
    outputs = layer(inputs)
    expected = functional.linear(wanted, layer.weight, layer.bias)
    torch.testing.assert_close(outputs, expected)
    outputs.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(inputs.grad, wanted.grad, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(inputs)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), expected, rtol=0.05, atol=0.5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_cutting_rounds_nothing(precision: Precision) -> None:
    """Masked equals sliced to the last bits, and merging to the 24 bits of a merged weight."""
    model, shape = random_model(hidden_size=64, attention_bias=True)
    fam = family(shape)
    quantised.quantise(model, fam, precision, torch.device("cpu"))
    adapters.attach(model, fam, LoraSpec(dropout=0.0), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    generator = torch.Generator().manual_seed(1)
    scores = {kind: [torch.rand(units(shape, kind), generator=generator) for _ in range(shape.layers)] for kind in Kind}
    dense = Plan.dense(shape)
    chosen = plan.narrow(dense, scores, widths.alike(shape, Widths(1, 24)))
    ids_BT = torch.randint(shape.vocab, (2, 16), generator=generator)
    with Masks(model, fam, shape) as masks:
        masks.apply(chosen)
        masked_BTV = verification.exact_answers(model, ids_BT)
    surgery.cut(model, fam, shape, dense, chosen, None)
    cut_BTV = verification.exact_answers(model, ids_BT)
    assert (cut_BTV - masked_BTV).abs().max() <= 1e-6
    state = adapters.merged_state(model, fam)
    merged = export.assemble(export.stock_config(model.config, shape, chosen), state)
    assert verification.check_cut(cut_BTV, verification.exact_answers(merged, ids_BT)) > 0
    assert sum(parameter.numel() for parameter in merged.parameters()) == shape.parameters - chosen.removed(shape)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_correction_is_rounded_once_and_only_where_it_is(precision: Precision) -> None:
    model, shape = random_model(hidden_size=64)
    fam = family(shape)
    quantised.quantise(model, fam, precision, torch.device("cpu"))
    adapters.attach(model, fam, LoraSpec(), seed=0)
    block, gate = next(iter(fam.layers(model))), fam.gate(Kind.FFN_CHANNEL)
    before_OI = adapters.effective(block, gate)
    change_OI = torch.zeros_like(before_OI)
    change_OI[:, [1, 5]] = 0.1 * draw(64, 2)
    adapters.add_to_frozen(block, gate, change_OI)
    off_OI = adapters.effective(block, gate) - (before_OI + change_OI)
    others = [column for column in range(before_OI.shape[1]) if column not in (1, 5)]
    assert float(off_OI[:, others].abs().max()) < 1e-6
    limit_I = (before_OI + change_OI).abs().amax(dim=0) * (0.16 if precision == "nf4" else 0.005)
    assert bool((off_OI.abs() <= limit_I).all())
    assert float(off_OI[:, [1, 5]].abs().max()) > 0


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("criterion", ["magnitude", "lora_gradient", "lora_fisher", "token_fisher"])
def test_scores_are_those_of_the_weights_that_it_stands_for(
    precision: Precision, criterion: Criterion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no whole weight is made for them."""
    held, shape = random_model(hidden_size=64)
    fam = family(shape)
    quantised.quantise(held, fam, precision, torch.device("cpu"))
    plain, _ = random_model(hidden_size=64)
    for path, layer in held.named_modules():
        if isinstance(layer, QuantisedLinear):
            plain.get_submodule(path).weight.data.copy_(layer.weight)

    def score(model: PreTrainedModel) -> Scores:
        adapters.attach(model, fam, LoraSpec(rank=3, dropout=0.0), seed=0)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
        scorer = start(model, shape, criterion=criterion)
        backward(model, *sequences(shape.vocab))
        with monkeypatch.context() as patched:
            patched.setattr(QuantisedLinear, "full", None)
            return scorer.take(Plan.dense(shape))

    assert_close(score(held), score(plain))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_whole_job_on_a_quantised_base(
    small_model: Path, small_text: Path, tmp_path: Path, precision: Precision
) -> None:
    train = {"steps": 4, "batch_size": 4, "sequence_length": 64, "base_precision": precision}
    summary, _, _ = run(spec_for(small_model, small_text, method={"train": train}), tmp_path)
    assert summary["merged_logit_difference"] > 0
    assert summary["max_abs_logit_difference"] <= verification.TOLERANCE


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_cannot_be_quantised_is_refused_before_any_work(
    small_model: Path, small_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    train = {"steps": 2, "sequence_length": 32, "base_precision": precision}
    model, _ = random_model(max_position_embeddings=256)  # 32 hidden channels
    model.save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    with pytest.raises(errors.BasePrecisionImpossible, match="hidden size of 32"):
        run(spec_for(tmp_path / "base", small_text, method={"ratio": 0.28, "train": train}), tmp_path / "narrow")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(errors.BasePrecisionImpossible, match="not installed"):
        run(spec_for(small_model, small_text, method={"train": train}), tmp_path / "missing")
