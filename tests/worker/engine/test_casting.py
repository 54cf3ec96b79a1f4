"""Weights cast once: the very numbers of weights cast in each product, also after each way of changing them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from jobs import widths
from jobs.families import FAMILIES
from jobs.specs import LoraSpec, TrainSpec
from jobs.widths import Widths
from tests.models import random_model
from tests.worker.engine.test_memory_estimate import FIELDS
from tests.worker.engine.test_pipeline import run, spec_for
from worker.engine import adapters, casting, compensated_cut, plan, surgery, training, training_loss
from worker.engine.architectures import Kind, family, units
from worker.engine.casting import CastLinear
from worker.engine.plan import Plan


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def assert_same(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("bias", [False, True])
def test_it_computes_what_a_plain_layer_does(bias: bool) -> None:
    plain = nn.Linear(7, 5, bias=bias).requires_grad_(False)
    cast = CastLinear(plain)
    for rough in (True, False, True):
        inputs = [draw(2, 3, 7).requires_grad_() for _ in range(2)]
        with torch.autocast("cpu", torch.bfloat16, enabled=rough):
            outputs = [layer(one) for layer, one in zip((cast, plain), inputs, strict=True)]
        assert outputs[0].dtype == (torch.bfloat16 if rough else torch.float32)
        assert_same(*outputs)
        for output in outputs:
            output.float().square().sum().backward()
        assert_same(*(one.grad for one in inputs))
    assert cast.weight is plain.weight
    assert cast.full(torch.bfloat16) is cast.full(torch.bfloat16)
    assert cast.full(torch.float64).dtype == torch.float64


def test_it_follows_each_way_in_which_a_weight_changes() -> None:
    layer = CastLinear(nn.Linear(7, 5).requires_grad_(False))
    layer.full(torch.bfloat16)
    layer.add(torch.ones(5, 7))
    assert_same(layer.full(torch.bfloat16), layer.weight.bfloat16())
    with layer.whole():
        for tensor, axis in layer.units(0):
            tensor.data = tensor.data.narrow(axis, 1, 3)
    layer.resize(3, 7)
    assert_same(layer.full(torch.bfloat16), layer.weight.bfloat16())
    layer.weight.data = draw(3, 7)
    layer.resize(3, 7)  # as where a cut is taken back
    assert_same(layer.full(torch.bfloat16), layer.weight.bfloat16())
    layer.double()
    assert_same(layer(draw(2, 7).double()), nn.functional.linear(draw(2, 7).double(), layer.weight, layer.bias))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("remove", [surgery.cut_block, surgery.silence_block])
def test_every_family_learns_and_is_mended_alike(name: str, remove: surgery.RemoveUnits) -> None:
    found = []
    for once in (False, True):
        model, shape = random_model(model_type=name)
        fam, whole, generator = family(shape), Plan.dense(shape), torch.Generator().manual_seed(1)
        if once:
            casting.cast_once(model, fam)
            blocks = 0 if fam.transposed else shape.layers * len(fam.linear)
            assert sum(isinstance(module, CastLinear) for module in model.modules()) == blocks + 1
        adapters.attach(model, fam, LoraSpec(rank=3), seed=0)
        scores = {kind: [torch.rand(units(shape, kind), generator=generator) for _ in range(shape.layers)]
                  for kind in fam.kinds}  # fmt: skip
        groups = 1 if Kind.KV_GROUP in fam.kinds else shape.kv_heads
        after = plan.narrow(whole, scores, widths.alike(shape, Widths(groups, shape.ffn // 2)))
        ids_NT = torch.randint(shape.vocab, (16, 24), generator=generator)
        losses = [_learn(model, ids_NT[:2])]
        case = model, fam, shape, whole, after, None
        compensated_cut.cut(*case, ids_NT, bfloat16=True, remove=remove, aim="stream")
        losses.append(_learn(model, ids_NT[:2]))
        found.append((losses, adapters.merged_state(model, fam)))
    each_time, once_for_all = found
    assert_same(once_for_all, each_time)


def _learn(model: Any, ids_BT: Tensor) -> list[Tensor]:
    """The loss, and then that of a model that has learned from it."""
    losses = []
    for _ in range(2):
        loss = training_loss.of(model, ids_BT, ids_BT, ids_BT.numel(), bfloat16=True)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.data -= 0.1 * parameter.grad
                parameter.grad = None
    return losses


def test_casts_are_kept_where_there_are_any_and_time_counts() -> None:
    rough = TrainSpec(precision="bfloat16")
    assert training.casts_once(rough, torch.float32)
    assert not training.casts_once(rough, torch.bfloat16), "such weights are what products want"
    assert not training.casts_once(TrainSpec(precision="float32"), torch.float32)
    for saving in ("gradient_checkpointing", "shard_base"):
        assert not training.casts_once(rough.model_copy(update={saving: True}), torch.float32)


def test_a_cut_and_who_asks_lets_them_go() -> None:
    model, shape = random_model(**FIELDS)
    fam, whole = family(shape), Plan.dense(shape)
    casting.cast_once(model, fam)
    adapters.attach(model, fam, LoraSpec(), seed=0)
    ids_NT = torch.randint(shape.vocab, (16, 24))
    _learn(model, ids_NT[:2])
    assert _cast_bytes(model) == 2 * (shape.block_parameters + shape.vocab * shape.hidden)
    compensated_cut.cut(model, fam, shape, whole, whole, None, ids_NT, bfloat16=True)
    assert _cast_bytes(model) == 0
    _learn(model, ids_NT[:2])
    assert _cast_bytes(model) > 0
    casting.let_go(model)
    assert _cast_bytes(model) == 0


def _cast_bytes(model: nn.Module) -> int:
    casts = [module._cast for module in model.modules() if isinstance(module, CastLinear)]
    return sum(cast.nbytes for cast in casts if cast is not None)


def test_a_job_comes_to_the_very_same_model(
    small_model: Path, small_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"steps": 12, "batch_size": 4, "sequence_length": 64, "precision": "bfloat16"}
    spec = spec_for(small_model, small_text, method={"train": train})
    *_, once = run(spec, tmp_path / "once")
    calls: list[Any] = []
    monkeypatch.setattr(training, "casts_once", lambda *call: calls.append(call))
    *_, each_time = run(spec, tmp_path / "each_time")
    assert [held for _, held in calls] == [torch.float32]
    assert_same(*(load_file(folder / "model.safetensors") for folder in (once, each_time)))
