"""The jobs behind the table, as anyone could send them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.engine.material import Material

Recipe = dict[str, Any]

STEPS, BATCH, MICRO_BATCH, TOKENS = 100, 4, 1, 256
SCHEDULE = {"steps": STEPS, "batch_size": BATCH, "micro_batch_size": MICRO_BATCH, "sequence_length": TOKENS}
TRAIN = {"learning_rate": 1e-3, "learning_rate_schedule": "linear", **SCHEDULE}
"""Products are in bfloat16 where the processor is quicker by it (AMX, or AMD since Zen 4), else in float32."""

REMOVED = {"50.6": 0.4954, "58.3": 0.419, "80": 0.2025}
"""By the most of the twin's block parameters that may be kept, in percent; widths are multiples of eight below that."""

Method = Mapping[str, Any]
"""What differs from the defaults, a section at a time."""

BEST: Method = {}
"""The defaults."""
STRICT: Method = {"lora": {"rank": 8, "alpha": 16, "dropout": 0.05, "start": "random"}, "train": {"b_factor_rate": 1}}
"""The adapters and their optimizer as every peer in the table had them."""
GUIDED: Method = {"score": {"criterion": "lora_fisher", "calibration_windows": 128}}
"""The method by its own name, guided by the gradients of the adapters; cut early and once, as by default."""
AS_PUBLISHED: Method = {"score": {"criterion": "lora_gradient"}}
"""The adapters' gradients by the sum over single entries that the paper has."""

BY_LAYER: Method = {"budget": {"allocation": "adaptive"}}
"""The defaults, but each layer as wide as what it does to the stream asks for; no stock class has such layers."""
GUIDED_BY_LAYER: Method = {**GUIDED, **BY_LAYER}
ITERATIVE: Method = {"schedule": {"warmup_fraction": 0.1, "cooldown_fraction": 0.5, "prune_every_steps": 10}}
"""Four cuts, the last one half of the way."""
GUIDED_ITERATIVE: Method = {**GUIDED, **ITERATIVE}

SWITCHES: Mapping[str, Method] = {
    "no_reconstruction": {"reconstruction": {"enabled": False}},
    "each_layer_for_itself": {"reconstruction": {"aim": "layer"}},
    "half_the_calibration_tokens": {"reconstruction": {"tokens_per_channel": 16}},
    "cut_in_the_first_step": {"schedule": {"cooldown_fraction": 0.99}},
    "in_four_cuts_until_half": ITERATIVE,
    "no_first_scores": {"score": {"calibration_windows": 0}},
    "one_rate_for_both_factors": {"train": {"b_factor_rate": 1}},
    "dropout": {"lora": {"dropout": 0.05}},
    "random_adapters": {"lora": {"start": "random"}},
    "learning_norms": {"lora": {"norms": True}},
    "heads_in_proportion": {"budget": {"heads_share": 1}},
    "layers_by_score": {"budget": {"allocation": "global"}},
    "six_layers_gone": {"layers_to_remove": 6},
    "masked_until_the_end": {"schedule": {"cut": "after_training"}},
    "distilled": {"distillation": {"mode": "cached"}},
    "distilled_by_a_teacher_in_memory": {"distillation": {"mode": "online"}},
    "all_of_them_plain": {
        "score": {"criterion": "mask_fisher"},
        "reconstruction": {"enabled": False},
        "budget": {"heads_share": 1},
        "lora": {"start": "random"},
        "train": {"b_factor_rate": 1},
    },
    "scores_by_sequence": {"score": {"criterion": "mask_fisher"}},
    "lora_scores_as_published": AS_PUBLISHED,
    "lora_scores_in_two_cuts": {**AS_PUBLISHED, "schedule": {"prune_every_steps": 5}},
}
"""The best combination with one part changed."""

SHORT: Method = {
    "train": {"steps": 40},
    "score": {"calibration_windows": 0},
    "reconstruction": {"enabled": False},
}
"""For what is a matter of time, not of quality."""


def _further(text: Path, windows: int) -> Recipe:
    source = {"source": "local", "path": str(text)}
    return {"name": "further", "dataset": source, "join": "\n", "window": 512, "max_windows": windows}


def recipe(
    material: Material,
    model: Path,
    kept: str,
    method: Method,
    *,
    seed: int = 42,
    windows: int = 40,
    benchmark: bool = False,
    finetuned_reference: bool = False,
) -> Recipe:
    """One job by the protocol."""
    return {
        "base_model": {"source": "local", "path": str(model)},
        "dataset": {"source": "local", "path": str(material.train)},
        "method": {
            "type": "lora_prune",
            "ratio": REMOVED[kept],
            "round_ffn_to": 8,
            **method,
            "train": TRAIN | dict(method.get("train", {})),
        },
        "evaluation": {
            "dataset": {"source": "local", "path": str(material.test)},
            "window": 512,
            "max_windows": windows,
            "perplexities": [] if material.further is None else [_further(material.further, windows)],
            "finetuned_reference": finetuned_reference,
            "agreement": False,
            "benchmark": benchmark,
        },
        "output": {"dtype": "float32"},
        "seed": seed,
    }
