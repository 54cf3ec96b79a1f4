"""Whether the engine keeps its word to the unit: a short real run, then what it published is counted."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import small_model
from bench.figure import Figure
from bench.weights import linear_parameters
from cli.demo import text
from jobs.outline import Plan

LOGIT_BAR = 1e-4
STEPS = 20


def measure(folder: Path) -> Iterator[Figure]:
    corpus = text.prepare(folder / "text")
    dense, out = small_model.find(folder / "dense", corpus.train), folder / "out"
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps(_recipe(dense, corpus)))
    subprocess.run([sys.executable, "-m", "cli", "compress", str(recipe), "--out", str(out)], check=True)
    return published(out, linear_parameters(dense))


def published(model: Path, dense: int | None = None, prefix: str = "") -> Iterator[Figure]:
    """What the folder holds against what its report says was planned and found.

    Args:
        dense: parameters counted in the base model's blocks; those of the plan if it is not at hand.
    """
    report: dict[str, Any] = json.loads((model / "compression_report.json").read_bytes())
    planned = Plan.model_validate(report["plan"]).block_parameters
    removed = (planned.before if dense is None else dense) - linear_parameters(model)
    yield Figure(f"{prefix}parameters_off_plan", abs(removed - (planned.before - planned.after)), "parameters", 0)
    yield Figure(f"{prefix}logit_difference_cut", report["merged_logit_difference"], "logit", LOGIT_BAR)
    yield Figure(f"{prefix}logit_difference_reloaded", report["max_abs_logit_difference"], "logit", LOGIT_BAR)


def _recipe(dense: Path, corpus: text.Corpus) -> dict[str, Any]:
    return {
        "base_model": {"source": "local", "path": str(dense)},
        "dataset": {"source": "local", "path": str(corpus.train)},
        "method": {
            "type": "lora_prune",
            "ratio": 0.3,
            "round_ffn_to": 4,
            "train": {
                "steps": STEPS,
                "batch_size": 2,
                "sequence_length": 128,
                "precision": "float32",
            },
            "schedule": {"prune_every_steps": 2},
        },
        "evaluation": {
            "dataset": {"source": "local", "path": str(corpus.held_out)},
            "max_windows": 4,
            "finetuned_reference": False,
            "benchmark": False,
        },
        "output": {"dtype": "float32"},
    }
