"""Masking and slicing are the same thing, the plan's count is the model's, and ratio 0 changes nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from jobs import widths
from jobs.specs import LoraSpec
from jobs.widths import Widths
from tests.models import random_model
from worker.engine import adapters, export, plan, surgery, verification
from worker.engine.architectures import Kind, family, units
from worker.engine.masks import Masks
from worker.engine.plan import Plan

SHAPES: dict[str, dict[str, Any]] = {
    "multi-head": {"num_key_value_heads": 4},
    "grouped queries": {},
    "one kv head": {"num_key_value_heads": 1},
    "heads x head_dim is not hidden": {"head_dim": 12},
    "untied": {"tie_word_embeddings": False},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "host switch": {"num_attention_heads": 8, "num_key_value_heads": 4},
    "mistral": {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None},
}


def probe(vocab: int) -> torch.Tensor:
    return torch.randint(vocab, (2, 32), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def cut_case(request: pytest.FixtureRequest) -> Any:
    """A random model with trained-looking adapters, and a random plan for it."""
    fields = request.param
    model, shape = random_model(**fields)
    groups = max(1, shape.kv_heads - 1)
    generator = torch.Generator().manual_seed(1)
    scores = {kind: torch.rand(shape.layers, units(shape, kind), generator=generator) for kind in Kind}
    chosen = plan.narrow(Plan.dense(shape), scores, Widths(groups, 24))
    adapters.attach(model, family(shape), LoraSpec(dropout=0.0), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return model.eval(), shape, chosen


def test_masked_equals_sliced_and_the_count_is_the_plans(cut_case: Any) -> None:
    model, shape, chosen = cut_case
    ids_BT = probe(shape.vocab)
    untouched_BTV = verification.answers(model, ids_BT)
    with Masks(model, family(shape), shape) as masks:
        masks.apply(chosen)
        masked_BTV = verification.answers(model, ids_BT)
    assert (masked_BTV - untouched_BTV).abs().max() > 0.01, "the plan should change the answers"

    state = surgery.cut(adapters.merged_state(model, family(shape)), chosen, family(shape), shape)
    sliced = export.assemble(export.stock_config(model.config, shape, chosen.widths), state)

    assert (verification.answers(sliced, ids_BT) - masked_BTV).abs().max() <= 1e-5
    assert sum(p.numel() for p in sliced.parameters()) == shape.parameters - chosen.removed(shape)
    assert shape.parameters - chosen.removed(shape) < shape.parameters


def test_written_and_reloaded_by_stock_classes(cut_case: Any, tmp_path: Path) -> None:
    model, shape, chosen = cut_case
    state = surgery.cut(adapters.merged_state(model, family(shape)), chosen, family(shape), shape)
    sliced = export.assemble(export.stock_config(model.config, shape, chosen.widths), state)
    sliced.save_pretrained(tmp_path)

    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)

    assert not any(info.values())
    ids_BT = probe(shape.vocab)
    assert torch.equal(verification.answers(loaded.eval(), ids_BT), verification.answers(sliced, ids_BT))
    written = loaded.generate(ids_BT[:1], max_new_tokens=4, min_new_tokens=4, do_sample=False)
    uncached = loaded.generate(ids_BT[:1], max_new_tokens=4, min_new_tokens=4, do_sample=False, use_cache=False)
    assert torch.equal(written, uncached)


def test_llama_whose_heads_do_not_divide_its_hidden_size_is_hosted_as_mistral() -> None:
    model, shape = random_model(num_attention_heads=8, num_key_value_heads=4)
    config = export.stock_config(model.config, shape, Widths(kv_groups=3, ffn=24))
    assert (config.model_type, config.num_attention_heads, config.head_dim) == ("mistral", 6, 8)
    assert config.sliding_window is None
    assert export.stock_config(model.config, shape, Widths(kv_groups=2, ffn=24)).model_type == "llama"


def test_the_dense_plan_changes_nothing_bit_for_bit() -> None:
    model, shape = random_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    dense = Plan.dense(shape)

    after = surgery.cut(model.state_dict(), dense, family(shape), shape)
    rebuilt = export.assemble(export.stock_config(model.config, shape, dense.widths), after)

    assert dense.removed(shape) == 0
    assert before.keys() == rebuilt.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in rebuilt.state_dict().items())
    ids_BT = probe(shape.vocab)
    assert torch.equal(verification.answers(model, ids_BT), verification.answers(rebuilt, ids_BT))


def test_a_fresh_adapter_merges_to_the_very_same_weights() -> None:
    model, shape = random_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapters.attach(model, family(shape), LoraSpec(), seed=0)
    merged = adapters.merged_state(model, family(shape))
    assert before.keys() == merged.keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in merged.items())


def test_the_shape_counts_what_the_model_has() -> None:
    for fields in SHAPES.values():
        model, shape = random_model(**fields)
        assert shape.parameters == sum(p.numel() for p in model.parameters())
        linear = sum(
            p.numel()
            for name, p in model.named_parameters()
            if any(f".{member.name}." in name for member in family(shape).members)
        )
        assert shape.block_parameters == linear
        assert widths.removed(shape, widths.dense(shape)) == 0
