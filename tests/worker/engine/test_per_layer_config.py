"""The widths of layers that differ, as transformers' own configurations read and write them."""

from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.integrations.heterogeneity.configuration_utils import AmbiguousGlobalPerLayerAttributeError

from jobs.widths import Layout, Widths
from tests.models import random_model
from worker.engine import export, per_layer_config
from worker.engine.plan import LayerPlan, Plan

LAYOUT: Layout = (Widths(2, 24), *[Widths(2, 40)] * 9, Widths(1, 40))


def stock_config(layout: Layout) -> tuple[Any, per_layer_config.Overrides]:
    """The configuration of a Llama that keeps `layout`, and what differs layer by layer."""
    model, shape = random_model(num_hidden_layers=len(layout))
    layers = [
        LayerPlan(index, tuple(range(kept.kv_groups)), tuple(range(kept.ffn))) for index, kept in enumerate(layout)
    ]
    return export.stock_config(model.config, shape, Plan(tuple(layers))), per_layer_config.overrides(shape, layout)


def test_what_differs_is_told_in_the_words_of_transformers() -> None:
    config, found = stock_config(LAYOUT)
    assert found == {
        "00": {"intermediate_size": 24},
        "10": {"num_attention_heads": 2, "num_key_value_heads": 1},
    }
    config.per_layer_config = found
    read = [Widths(layer.num_key_value_heads, layer.intermediate_size) for layer in config.per_layer_config]
    assert tuple(read) == LAYOUT
    assert [layer.num_attention_heads for layer in config.per_layer_config] == [4] * 10 + [2]
    assert config.to_dict()["per_layer_config"] == found, "written as transformers writes it"


def test_nothing_is_told_of_layers_that_are_alike() -> None:
    _, found = stock_config((Widths(1, 24),) * 3)
    assert found == {}


def test_stock_classes_refuse_it_in_their_own_file() -> None:
    """Why it is a file beside config.json: once this fails, it can go there."""
    config, found = stock_config(LAYOUT)
    written = config.to_dict() | {"per_layer_config": found}
    with pytest.raises(AmbiguousGlobalPerLayerAttributeError):
        AutoModelForCausalLM.from_config(AutoConfig.for_model(**written))
