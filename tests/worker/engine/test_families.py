"""Each family on a small random model: what its configuration means, whole layers that go, scores, mended cuts."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, PreTrainedModel

from jobs import shapes, widths
from jobs.criteria import ScoreSpec
from jobs.families import FAMILIES
from jobs.shapes import ModelShape
from jobs.specs import LoraSpec
from jobs.widths import Widths
from tests.models import random_model
from tests.worker.engine.test_surgery import probe
from worker.engine import adapters, blockwise, compensated_cut, export, plan, scores, surgery, verification
from worker.engine.architectures import Kind, family, units
from worker.engine.plan import Plan

WINDOWED = ("qwen2", "qwen3", "gemma2", "gemma3_text")
TYPES = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
each_family = pytest.mark.parametrize("name", FAMILIES)


@each_family
def test_words_left_out_mean_what_the_class_reads_into_them(name: str) -> None:
    words = FAMILIES[name]
    said = {"model_type": name, "vocab_size": 96, words.layers: 2, words.hidden: 1024, words.heads: 32}
    said |= {} if name == "gpt2" else {words.ffn: 40}
    assert shapes.read(said) == shapes.read(AutoConfig.for_model(**said).to_dict())


def adapted(name: str, layers: int) -> tuple[PreTrainedModel, ModelShape]:
    """A random model with adapters that do something, and norms that have learned."""
    fields: dict[str, Any] = {"model_type": name, FAMILIES[name].layers: layers}
    if name in WINDOWED:
        fields |= {"use_sliding_window": True, "sliding_window": 8, "layer_types": TYPES[:layers]}
    if name in ("glm4", "gemma2", "gemma3_text"):
        # What these normalise after o_proj hears no common factor: of two groups, both would matter alike.
        fields["num_key_value_heads"] = 4
    model, shape = random_model(**fields)
    adapters.attach(model, family(shape), LoraSpec(dropout=0.0, norms=True), seed=0)
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.1)
        elif parameter.requires_grad and parameter.dim() == 1:
            parameter.data += 0.2 * torch.rand_like(parameter)
    return model.eval(), shape


@each_family
def test_layers_that_go_are_layers_that_are_skipped(name: str) -> None:
    model, shape = adapted(name, layers=4)
    dense, ids_BT = Plan.dense(shape), probe(shape.vocab)
    blocks = list(family(shape).layers(model))
    after = Plan((dense.layers[0], dense.layers[3]))
    with blockwise.forwarding(blocks[1:3], [lambda hidden, *_, **__: hidden] * 2):
        skipped_BTV = verification.answers(model, ids_BT)

    surgery.cut(model, family(shape), shape, dense, after, None)

    assert torch.equal(verification.answers(model, ids_BT), skipped_BTV)
    assert model.config.num_hidden_layers == 2
    if name in WINDOWED:
        assert model.config.layer_types == ["sliding_attention", "full_attention"]
    model.config.validate()
    assert torch.equal(*(written(model, ids_BT, use_cache=cached) for cached in (True, False)))
    config = export.stock_config(model.config if name not in WINDOWED else dense_config(name, shape), shape, after)
    alone = export.assemble(config, adapters.merged_state(model, family(shape)))
    assert (verification.answers(alone, ids_BT) - skipped_BTV).abs().max() <= 1e-5
    assert sum(p.numel() for p in alone.parameters()) == widths.stored_parameters(shape, after.layout)


def dense_config(name: str, shape: ModelShape) -> Any:
    """Of the untouched model: the one in memory has lost its layers already."""
    return adapted(name, shape.layers)[0].config


def written(model: PreTrainedModel, ids_BT: torch.Tensor, *, use_cache: bool) -> torch.Tensor:
    tokens: torch.Tensor = model.generate(  # type: ignore[operator]  # nn.Module hides the method's type
        ids_BT[:1], max_new_tokens=4, min_new_tokens=4, do_sample=False, use_cache=use_cache
    )
    return tokens


@each_family
@pytest.mark.parametrize(
    "criterion", ["token_fisher", "mask_fisher", "lora_fisher", "lora_gradient", "taylor", "activation", "fluctuation"]
)
def test_every_unit_gets_its_score(name: str, criterion: str) -> None:
    model, shape = adapted(name, layers=2)
    scorer = scores.start(model, family(shape), shape, ScoreSpec.model_validate({"criterion": criterion}), seed=0)
    ids_BT = probe(shape.vocab)
    found = []
    for batches in ([ids_BT], list(ids_BT.split(1))):
        model.zero_grad()
        for batch_BT in batches:
            (model(input_ids=batch_BT, labels=batch_BT).loss / len(batches)).backward()
        found.append(scorer.take(Plan.dense(shape)))
    scorer.close()
    assert set(found[0]) == set(family(shape).kinds)
    for kind, layers in found[0].items():
        assert [len(score_U) for score_U in layers] == [units(shape, kind)] * shape.layers
        assert all(bool(score_U.isfinite().all()) and score_U.std() > 0 for score_U in layers)
        if criterion != "fluctuation":  # whose variances are those of a step
            torch.testing.assert_close(list(layers), list(found[1][kind]), rtol=1e-3, atol=1e-5)


@each_family
def test_a_mended_cut_answers_more_like_the_whole_model(name: str) -> None:
    shape = adapted(name, layers=2)[1]
    dense, ids_NT = Plan.dense(shape), torch.randint(shape.vocab, (24, 32), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    chance = {kind: torch.rand(shape.layers, units(shape, kind), generator=generator) for kind in family(shape).kinds}
    target = widths.alike(shape, Widths(shape.kv_heads if Kind.KV_GROUP not in chance else 1, 30))
    chosen = plan.narrow(dense, chance, target)
    off = []
    for mended in (False, True):
        model, _ = adapted(name, layers=2)
        whole_BTV = verification.answers(model, ids_NT)
        if mended:
            compensated_cut.cut(model, family(shape), shape, dense, chosen, None, ids_NT, bfloat16=False)
        else:
            surgery.cut(model, family(shape), shape, dense, chosen, None)
        off.append(float((verification.answers(model, ids_NT) - whole_BTV).square().mean()))
    assert off[1] < off[0]
