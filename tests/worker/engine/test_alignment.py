"""A factors that read the directions in which the loss changes most, in a model that answers as before."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from jobs import errors
from jobs.families import FAMILIES
from jobs.shapes import ModelShape
from jobs.specs import LoraSpec, TrainSpec
from tests.models import random_model
from tests.worker.engine.runs import prune, spec_of
from tests.worker.engine.test_surgery import probe
from worker.engine import adapters, alignment, verification
from worker.engine.alignment import align
from worker.engine.architectures import Family, family
from worker.engine.windows import Windows

SPEC = TrainSpec(batch_size=4, micro_batch_size=2, sequence_length=16, precision="float32")
RANK = 4


def text(shape: ModelShape, count: int = 8) -> Windows:
    ids_NT = torch.randint(shape.vocab, (count, 16), generator=torch.Generator().manual_seed(3))
    return Windows(ids_NT, ids_NT)


def adapted(**fields: Any) -> tuple[PreTrainedModel, Family, ModelShape]:
    model, shape = random_model(**fields)
    adapters.attach(model, family(shape), LoraSpec(rank=RANK), seed=0)
    return model, family(shape), shape


def block(model: PreTrainedModel, fam: Family, index: int) -> torch.nn.Module:
    return list(fam.layers(model))[index]


def factors(model: PreTrainedModel, fam: Family) -> dict[tuple[int, str], adapters.Factors]:
    return {
        (index, path): adapters.factors(block, path)
        for index, block in enumerate(fam.layers(model))
        for path in fam.linear
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradient_is_seen_nearly_as_well_as_so_many_directions_can(name: str) -> None:
    """Beside the best directions of the true gradient of each weight, taken in float64 on the same text."""
    model, fam, shape = adapted(model_type=name)
    windows = text(shape)
    gradients = _gradients(name, windows)
    random = {key: found.a_RI.detach().clone() for key, found in factors(model, fam).items()}

    align(model, fam, windows, SPEC)

    seen, by_chance, at_best = [], [], []
    for key, found in factors(model, fam).items():
        gradient_OI = gradients[key]
        singular = torch.linalg.svdvals(gradient_OI).square()
        at_best.append(float(singular[:RANK].sum() / singular.sum()))
        seen.append(_part(gradient_OI, found.a_RI))
        by_chance.append(_part(gradient_OI, random[key]))
    mean, best, chance = (sum(parts) / len(parts) for parts in (seen, at_best, by_chance))
    assert mean > 0.75 * best
    assert mean > 2 * chance


def _gradients(name: str, windows: Windows) -> dict[tuple[int, str], Tensor]:
    plain, shape = random_model(model_type=name)
    fam, plain = family(shape), plain.double()
    plain(input_ids=windows.ids_NT, labels=windows.labels_NT).loss.backward()
    found = {}
    for index, block in enumerate(fam.layers(plain)):
        for path in fam.linear:
            gradient = block.get_submodule(path).weight.grad
            assert isinstance(gradient, Tensor)
            found[index, path] = gradient.T if fam.transposed else gradient
    return found


def _part(gradient_OI: Tensor, a_RI: Tensor) -> float:
    """How much of the gradient's square lies within A's directions."""
    inside_IR = torch.linalg.qr(a_RI.detach().double().T).Q
    return float((gradient_OI @ inside_IR).square().sum() / gradient_OI.square().sum())


def test_the_model_answers_as_before_and_keeps_no_gradient() -> None:
    model, fam, shape = adapted()
    ids_BT = probe(shape.vocab)
    before_BTV = verification.answers(model, ids_BT)
    align(model, fam, text(shape), SPEC)
    assert torch.equal(verification.answers(model, ids_BT), before_BTV)
    assert all(parameter.grad is None for parameter in model.parameters())
    for found in factors(model, fam).values():
        gram_RR = found.a_RI @ found.a_RI.T
        length = 2 * (RANK / (3 * found.a_RI.shape[1])) ** 0.5
        torch.testing.assert_close(gram_RR, torch.eye(RANK) * length**2, atol=1e-5, rtol=1e-4)


def test_a_matrix_with_fewer_channels_than_directions_keeps_the_other_rows() -> None:
    model, shape = random_model()
    fam = family(shape)
    adapters.attach(model, fam, LoraSpec(rank=36), seed=0)
    before = {key: found.a_RI.detach().clone() for key, found in factors(model, fam).items()}
    align(model, fam, text(shape), SPEC)
    for key, found in factors(model, fam).items():
        known = min(36, found.a_RI.shape[1])
        assert torch.equal(found.a_RI[known:], before[key][known:])
        assert not torch.equal(found.a_RI[:known], before[key][:known])


def test_what_has_no_gradient_stays() -> None:
    model, fam, shape = adapted()
    quiet = block(model, fam, 0).get_submodule("mlp.down_proj")
    with torch.no_grad():
        block(model, fam, 0).get_submodule("mlp.up_proj").base_layer.weight.zero_()
    before_RI = adapters.factors(block(model, fam, 0), "mlp.down_proj").a_RI.detach().clone()
    align(model, fam, text(shape), SPEC)
    assert torch.equal(quiet.lora_A["default"].weight, before_RI)


def test_a_gradient_that_is_no_number_is_named() -> None:
    model, fam, shape = adapted()
    with torch.no_grad():
        block(model, fam, 1).get_submodule("mlp.up_proj").base_layer.weight[0, 0] = float("inf")
    with pytest.raises(errors.LossNotFinite, match="before the first step"):
        align(model, fam, text(shape), SPEC)


def test_a_single_window_is_enough() -> None:
    model, fam, shape = adapted()
    before = factors(model, fam)[0, "mlp.up_proj"].a_RI.detach().clone()
    align(model, fam, text(shape, count=1), SPEC)
    assert not torch.equal(factors(model, fam)[0, "mlp.up_proj"].a_RI, before)


@pytest.mark.parametrize(("start", "expected"), [("gradient", [172]), ("random", [])])
def test_a_run_aligns_once_before_anything_is_cut_if_so_asked(
    small_model: Path, tmp_path: Path, start: str, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []

    def watched(model: PreTrainedModel, fam: Family, windows: Windows, spec: TrainSpec) -> None:
        widths.append(adapters.factors(block(model, fam, 0), "mlp.down_proj").a_RI.shape[1])
        align(model, fam, windows, spec)

    monkeypatch.setattr(alignment, "align", watched)
    prune(small_model, spec_of(lora={"start": start}), tmp_path)
    assert widths == expected
