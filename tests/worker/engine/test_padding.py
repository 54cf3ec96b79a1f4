"""Layers that differ, and layers that go: masked, sliced and padded are the same model."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from jobs import widths
from jobs.shapes import ModelShape
from jobs.specs import LoraSpec
from jobs.widths import Layout, Widths
from tests.models import random_model
from tests.worker.engine.masks import Masks
from worker.engine import adapters, export, padding, plan, surgery, verification
from worker.engine.architectures import Kind, family, units
from worker.engine.plan import Plan

LAYERS = 4
GONE = 2
LAYOUT: Layout = (Widths(4, 40), Widths(1, 8), Widths(2, 16))
FIELDS: dict[str, dict[str, Any]] = {
    "grouped queries": {"num_attention_heads": 8, "num_key_value_heads": 4},
    "multi-head": {"num_attention_heads": 4, "num_key_value_heads": 4},
    "biases": {"num_attention_heads": 8, "num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True},
}


@pytest.fixture(params=FIELDS.values(), ids=FIELDS.keys())
def adapted(request: pytest.FixtureRequest) -> tuple[PreTrainedModel, ModelShape, Plan]:
    """A random model with trained-looking adapters, and a plan that drops a layer and narrows the others unevenly."""
    model, shape = random_model(num_hidden_layers=LAYERS, **request.param)
    generator = torch.Generator().manual_seed(1)
    dense = Plan.dense(shape)
    left = Plan(tuple(layer for layer in dense.layers if layer.index != GONE))
    scores = {kind: torch.rand(len(left.layers), units(shape, kind), generator=generator) for kind in Kind}
    adapters.attach(model, family(shape), LoraSpec(dropout=0.0), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return model.eval(), shape, plan.narrow(left, scores, LAYOUT)


def masked_answers(model: PreTrainedModel, shape: ModelShape, chosen: Plan, ids_BT: torch.Tensor) -> torch.Tensor:
    """What the model answers with removed units masked, and all of a removed layer (whose biases go too)."""
    model = copy.deepcopy(model)
    kept = {layer.index: layer for layer in chosen.layers}
    whole = Plan.dense(shape).layers
    for member in family(shape).members:
        bias = list(family(shape).layers(model))[GONE].get_submodule(member.path).base_layer.bias
        if bias is not None:
            torch.nn.init.zeros_(bias)
    with Masks(model, family(shape), shape) as masks:
        masks.apply(Plan(tuple(kept.get(layer.index, plan.LayerPlan(layer.index, (), ())) for layer in whole)))
        return verification.answers(model, ids_BT)


def test_masked_sliced_and_padded_answer_alike(adapted: Any, tmp_path: Path) -> None:
    model, shape, chosen = adapted
    ids_BT = torch.randint(shape.vocab, (2, 32), generator=torch.Generator().manual_seed(0))
    masked_BTV = masked_answers(model, shape, chosen, ids_BT)

    surgery.cut(model, family(shape), shape, Plan.dense(shape), chosen, None)
    sliced_BTV = verification.answers(model, ids_BT)
    config = export.stock_config(model.config, shape, chosen)
    state = padding.padded(adapters.merged_state(model, family(shape)), family(shape), shape, chosen)
    export.assemble(config, state).save_pretrained(tmp_path)
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)

    assert not any(info.values())
    assert (loaded.config.num_hidden_layers, loaded.config.intermediate_size) == (LAYERS - 1, 40)
    assert "per_layer_config" not in (tmp_path / "config.json").read_text()
    assert (sliced_BTV - masked_BTV).abs().max() <= 1e-5
    assert (verification.answers(loaded.eval(), ids_BT) - masked_BTV).abs().max() <= 1e-5
    written = loaded.generate(ids_BT[:1], max_new_tokens=4, min_new_tokens=4, do_sample=False)
    uncached = loaded.generate(ids_BT[:1], max_new_tokens=4, min_new_tokens=4, do_sample=False, use_cache=False)
    assert torch.equal(written, uncached)


def test_the_counts_are_the_tensors(adapted: Any) -> None:
    model, shape, chosen = adapted
    assert chosen.layout == LAYOUT
    surgery.cut(model, family(shape), shape, Plan.dense(shape), chosen, None)
    state = adapters.merged_state(model, family(shape))
    padded = padding.padded(state, family(shape), shape, chosen)
    tied = {"lm_head.weight"} & state.keys()
    effective, stored = (sum(t.numel() for name, t in s.items() if name not in tied) for s in (state, padded))
    assert effective == widths.parameters(shape, LAYOUT)
    assert stored == widths.stored_parameters(shape, LAYOUT)
    assert effective < stored < shape.parameters
