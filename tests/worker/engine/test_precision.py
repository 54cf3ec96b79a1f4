"""A bfloat16 model with float32 adapters and norms: what trains, is cut and is merged keeps its bits."""

from types import MappingProxyType

import pytest
import torch

from jobs import widths
from jobs.specs import LoraSpec, TrainSpec
from jobs.widths import Widths
from tests.models import random_model
from worker.engine import adapters, plan, surgery, training, verification
from worker.engine.architectures import Kind, family, units
from worker.engine.plan import Plan


def test_adapters_moments_cuts_and_merges_stay_in_float32() -> None:
    model, shape = random_model()
    fam, dense = family(shape), Plan.dense(shape)
    adapters.attach(model.to(torch.bfloat16), fam, LoraSpec(dropout=0.0, norms=True), seed=0)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-2)
    ids_BT = torch.arange(32).view(2, 16)
    with torch.autocast("cpu", torch.bfloat16):
        model(input_ids=ids_BT, labels=ids_BT).loss.backward()
    optimizer.step()
    scores = {kind: [torch.rand(units(shape, kind)) for _ in range(shape.layers)] for kind in Kind}
    chosen = plan.narrow(dense, scores, widths.alike(shape, Widths(1, 24)))
    surgery.cut(model, fam, shape, dense, chosen, optimizer)
    moments = [value for state in optimizer.state.values() for value in state.values() if value.dim()]
    assert {tensor.dtype for tensor in (*learned, *moments, *(part.grad for part in learned))} == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters() if not parameter.requires_grad} == {torch.bfloat16}
    state = adapters.merged_state(model, fam)
    for block in range(shape.layers):
        for member in fam.members:
            merged = state[f"{fam.blocks}.{block}.{member.path}.weight"]
            assert merged.dtype == torch.float32
            assert not torch.equal(merged, merged.bfloat16().float()), "the factors' low bits are there"
    for path in ("model.norm", "model.layers.1.input_layernorm"):
        gains = state[f"{path}.weight"]
        assert gains.dtype == torch.float32
        assert not torch.equal(gains, gains.bfloat16().float()), "small steps are not rounded away"
    with torch.no_grad():
        assert model(input_ids=ids_BT, labels=ids_BT).logits.dtype == torch.bfloat16  # without mixed precision too
    assert verification.exact_answers(model, ids_BT).dtype == torch.float64


@pytest.mark.parametrize(
    ("has", "quicker"),
    [
        ({"avx512_bf16": True, "amx_bf16": False, "sse4a": False}, False),  # Intel, without matrix tiles
        ({"avx512_bf16": True, "amx_bf16": True, "sse4a": False}, True),
        ({"avx512_bf16": True, "amx_bf16": False, "sse4a": True}, True),  # AMD since Zen 4
        ({"avx512_bf16": False, "amx_bf16": False, "sse4a": True}, False),
    ],
)
def test_left_open_products_are_in_what_is_quicker_here(
    has: dict[str, bool], quicker: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = MappingProxyType({"architecture": "x86_64", **has})
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training.uses_bfloat16(TrainSpec()) is quicker
    for said in ("bfloat16", "float32"):
        assert training.uses_bfloat16(TrainSpec(precision=said)) is (said == "bfloat16")
