"""The widths of layers that differ, in the words in which transformers' configurations override a field layer by layer.

They are a file of their own: a stock class whose config.json held them would refuse to load, as it builds all layers
alike. Each layer's own units come first in the weights, and zeros behind them.
"""

import json
from pathlib import Path

from jobs import widths
from jobs.families import FAMILIES
from jobs.shapes import ModelShape
from jobs.widths import Layout

NAME = "per_layer_config.json"

Overrides = dict[str, dict[str, int]]
"""By the layer's place among those that stay, all with as many digits: the fields that are not as config.json says."""


def write(folder: Path, shape: ModelShape, layout: Layout) -> None:
    """Add the file where layers differ."""
    found = overrides(shape, layout)
    if found:
        (folder / NAME).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def overrides(shape: ModelShape, layout: Layout) -> Overrides:
    """What is narrower in each layer than in the stock configuration that holds `layout`; empty if nothing is."""
    words, stored = FAMILIES[shape.family], widths.stored(shape, layout)
    narrow: dict[int, dict[str, int]] = {}
    for place, kept in enumerate(layout):
        fields: dict[str, int] = {}
        if kept.kv_groups != stored.kv_groups:
            fields |= {words.heads: kept.kv_groups * shape.group, "num_key_value_heads": kept.kv_groups}
        if kept.ffn != stored.ffn:
            fields[words.ffn] = kept.ffn
        if fields:
            narrow[place] = fields
    digits = len(str(max(narrow, default=0)))
    return {str(place).zfill(digits): fields for place, fields in narrow.items()}
