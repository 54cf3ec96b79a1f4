"""Masking and slicing are the same thing, the plan's count is the model's, and ratio 0 changes nothing."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from jobs import widths
from jobs.families import FAMILIES
from jobs.shapes import ModelShape
from jobs.specs import LoraSpec
from jobs.widths import Widths
from tests.models import random_model
from tests.worker.engine.masks import Masks
from worker.engine import adapters, export, padding, plan, surgery, verification
from worker.engine.architectures import family, units
from worker.engine.plan import Plan

WINDOWS = {"layer_types": ["full_attention", "sliding_attention"]}
SHAPES: dict[str, dict[str, Any]] = {
    "multi-head": {"num_key_value_heads": 4},
    "grouped queries": {},
    "one kv head": {"num_key_value_heads": 1},
    "heads x head_dim is not hidden": {"head_dim": 12},
    "untied": {"tie_word_embeddings": False},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "host switch": {"num_attention_heads": 8, "num_key_value_heads": 4},
    "host switch with biases": {"num_attention_heads": 8, "num_key_value_heads": 4, "attention_bias": True},
    "granite with biases": {"model_type": "granite", "num_attention_heads": 8, "attention_bias": True},
    **{family: {"model_type": family} for family in FAMILIES if family != "llama"},
    "mistral without window": {"model_type": "mistral", "sliding_window": None},
    "qwen2 host switch": {"model_type": "qwen2", "num_attention_heads": 8, "num_key_value_heads": 4},
    "qwen2 with windows": {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8, **WINDOWS},
    "qwen3 with biases": {"model_type": "qwen3", "attention_bias": True, "use_sliding_window": True, **WINDOWS},
    "glm without biases": {"model_type": "glm", "attention_bias": False, "tie_word_embeddings": False},
    "phi3 with a window": {"model_type": "phi3", "sliding_window": 8, "tie_word_embeddings": False},
    "gemma2 with biases": {"model_type": "gemma2", "attention_bias": True, "head_dim": 12},
    "opt that normalises afterwards": {"model_type": "opt", "do_layer_norm_before": False},
    "plain opt": {"model_type": "opt", "word_embed_proj_dim": 32, "enable_bias": False},
    "gpt_neox in series": {"model_type": "gpt_neox", "use_parallel_residual": False, "tie_word_embeddings": False},
    "gpt_neox without attention bias": {"model_type": "gpt_neox", "attention_bias": False},
    "gpt2 of the usual width": {"model_type": "gpt2", "n_inner": None, "tie_word_embeddings": False},
}


def probe(vocab: int) -> torch.Tensor:
    return torch.randint(vocab, (2, 32), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def cut_case(request: pytest.FixtureRequest) -> Any:
    """A random model with trained-looking adapters, and a random plan for it."""
    fields = request.param
    model, shape = random_model(**fields)
    possible = [groups for groups in range(1, shape.kv_heads + 1) if shape.holds(groups * shape.group)]
    fewer = [groups for groups in possible if groups < shape.kv_heads] or possible
    generator = torch.Generator().manual_seed(1)
    scores = {kind: torch.rand(shape.layers, units(shape, kind), generator=generator) for kind in family(shape).kinds}
    chosen = plan.narrow(Plan.dense(shape), scores, widths.alike(shape, Widths(fewer[-1], 24)))
    adapters.attach(model, family(shape), LoraSpec(dropout=0.0), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return model.eval(), shape, chosen


def cut_merged_and_assembled(model: PreTrainedModel, shape: ModelShape, chosen: Plan) -> PreTrainedModel:
    surgery.cut(model, family(shape), shape, Plan.dense(shape), chosen, None)
    state = adapters.merged_state(model, family(shape))
    state = padding.padded(state, family(shape), shape, chosen)
    return export.assemble(export.stock_config(model.config, shape, chosen), state)


def test_masked_equals_sliced_and_the_count_is_the_plans(cut_case: Any) -> None:
    model, shape, chosen = cut_case
    ids_BT = probe(shape.vocab)
    untouched_BTV = verification.answers(model, ids_BT)
    with Masks(model, family(shape), shape) as masks:
        masks.apply(chosen)
        masked_BTV = verification.answers(model, ids_BT)
    assert (masked_BTV - untouched_BTV).abs().max() > 0.01, "the plan should change the answers"

    sliced = cut_merged_and_assembled(model, shape, chosen)

    assert (verification.answers(sliced, ids_BT) - masked_BTV).abs().max() <= 1e-5
    assert sum(p.numel() for p in sliced.parameters()) == widths.stored_parameters(shape, chosen.layout)
    assert shape.parameters - chosen.removed(shape) < shape.parameters


def test_written_and_reloaded_by_stock_classes(cut_case: Any, tmp_path: Path) -> None:
    model, shape, chosen = cut_case
    sliced = cut_merged_and_assembled(model, shape, chosen)
    sliced.save_pretrained(tmp_path)

    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)

    assert not any(info.values())
    ids_BT = probe(shape.vocab)
    assert torch.equal(verification.answers(loaded.eval(), ids_BT), verification.answers(sliced, ids_BT))
    written = loaded.generate(ids_BT[:1], max_new_tokens=4, min_new_tokens=4, do_sample=False)
    uncached = loaded.generate(ids_BT[:1], max_new_tokens=4, min_new_tokens=4, do_sample=False, use_cache=False)
    assert torch.equal(written, uncached)


def first_groups(shape: ModelShape, count: int) -> Plan:
    """The plan that keeps the first KV groups of every layer."""
    return Plan(tuple(replace(layer, kv_groups=tuple(range(count))) for layer in Plan.dense(shape).layers))


def test_llama_whose_heads_do_not_divide_its_hidden_size_is_hosted_as_mistral() -> None:
    model, shape = random_model(num_attention_heads=8, num_key_value_heads=4)
    config = export.stock_config(model.config, shape, first_groups(shape, 3))
    assert (config.model_type, config.num_attention_heads, config.head_dim) == ("mistral", 6, 8)
    assert config.sliding_window is None
    assert export.stock_config(model.config, shape, first_groups(shape, 2)).model_type == "llama"


def test_the_dense_plan_changes_nothing_bit_for_bit() -> None:
    model, shape = random_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ids_BT = probe(shape.vocab)
    answers_BTV = verification.answers(model, ids_BT)
    dense = Plan.dense(shape)

    adapters.attach(model, family(shape), LoraSpec(), seed=0)
    rebuilt = cut_merged_and_assembled(model, shape, dense)

    assert dense.removed(shape) == 0
    assert before.keys() == rebuilt.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in rebuilt.state_dict().items())
    assert torch.equal(verification.answers(rebuilt, ids_BT), answers_BTV)


class Step:
    """One optimizer step of the adapters on the same batch, again and again."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2, weight_decay=0)
        self.ids_BT = torch.arange(64).view(2, 32)

    def backward(self) -> float:
        self.optimizer.zero_grad()
        loss = self.model(input_ids=self.ids_BT, labels=self.ids_BT).loss
        loss.backward()
        return float(loss)

    def held(self) -> list[torch.Tensor]:
        """All that training keeps: weights, gradients and moments."""
        states = [value for state in self.optimizer.state.values() for value in state.values()]
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        return [*self.model.parameters(), *gradients, *states]


def test_memory_is_given_back_with_what_is_cut(cut_case: Any) -> None:
    model, shape, chosen = cut_case
    run = Step(model)
    run.backward()
    run.optimizer.step()
    run.backward()

    def stored() -> int:
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in run.held()}
        return sum(storages.values())

    def learning() -> int:
        return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)

    bytes_before, learned_before = stored(), learning()
    surgery.cut(model, family(shape), shape, Plan.dense(shape), chosen, run.optimizer)
    assert learning() < learned_before
    # Four bytes for each frozen parameter; a learning one has a gradient and two moments too.
    assert bytes_before - stored() == 4 * chosen.removed(shape) + 16 * (learned_before - learning())


def test_training_on_after_a_cut_equals_training_on_under_a_mask(cut_case: Any) -> None:
    model, shape, chosen = cut_case
    twin = copy.deepcopy(model)
    cut_run, masked_run = Step(model), Step(twin)
    with Masks(twin, family(shape), shape) as masks:
        for number in range(6):
            losses = cut_run.backward(), masked_run.backward()
            assert losses[0] == pytest.approx(losses[1], rel=1e-5)
            if number == 2:  # between backward and step, where moments and gradients are both there
                surgery.cut(model, family(shape), shape, Plan.dense(shape), chosen, cut_run.optimizer)
                masks.apply(chosen)
                _forget_gradients_of_removed(twin, shape, chosen)
            cut_run.optimizer.step()
            masked_run.optimizer.step()
        masked_BTV = verification.answers(twin, probe(shape.vocab))
    assert (verification.answers(model, probe(shape.vocab)) - masked_BTV).abs().max() < 1e-4


def _forget_gradients_of_removed(model: PreTrainedModel, shape: ModelShape, chosen: Plan) -> None:
    """The step of the cut itself: its gradients are of the whole model, and the removed rows take no part in it."""
    for block, layer in zip(family(shape).layers(model), chosen.layers, strict=True):
        for member in family(shape).members:
            gone = sorted(set(range(units(shape, member.kind))) - set(layer.kept(member.kind)))
            places = torch.tensor(member.places(shape, units(shape, member.kind), gone), dtype=torch.long)
            for parameter, axis in adapters.parameters(block, member):
                if parameter.grad is not None:
                    parameter.grad.index_fill_(axis, places, 0)


def test_the_shape_counts_what_the_model_has() -> None:
    for fields in SHAPES.values():
        model, shape = random_model(**fields)
        assert shape.parameters == sum(p.numel() for p in model.parameters())
        linear = sum(
            p.numel()
            for name, p in model.named_parameters()
            if any(f".{path}." in name for path in family(shape).linear)
        )
        assert shape.block_parameters == linear
        assert widths.removed(shape, widths.dense(shape)) == 0
