"""The figures of the table, from rows that are run as they are needed."""

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from bench.engine import material
from bench.engine.material import Material
from bench.engine.recipes import (
    BEST,
    BY_LAYER,
    GUIDED,
    GUIDED_BY_LAYER,
    GUIDED_ITERATIVE,
    SHORT,
    STRICT,
    SWITCHES,
    Method,
    recipe,
)
from bench.engine.rows import Row, run
from bench.figure import Figure
from bench.memory import GB

CACHE = Path.home() / ".cache" / "prunery" / "bench-engine"
SEEDS = (42, 43)

PERPLEXITY_BARS = {"50.6": 29.0, "58.3": 26.0, "80": 17.0}
FURTHER_BAR = 2.31
"""Times the dense model's perplexity on text of another kind, which a plain one-shot prototype has at half."""
REFERENCE_PEAK_GB = 4.20
"""Of the paper's own code on the same work."""


def measure(folder: Path) -> Iterator[Figure]:
    """The rows at 50.6 % of the twin, with one seed; with ALL=1 in the environment all sizes, models and switches.

    Finished rows and the models are kept in PRUNERY_BENCH_RESULTS, so that a run that was stopped goes on.
    """
    results = Path(os.environ.get("PRUNERY_BENCH_RESULTS", CACHE))
    try:
        given = material.find(results)
    except material.Missing as missing:
        print(f"Skipped: {missing}", flush=True)
        return
    yield from _at_half(given, results)
    yield from _speed(given, results)
    if os.environ.get("ALL") == "1":
        yield from _everything(given, results)


def _at_half(given: Material, results: Path) -> Iterator[Figure]:
    best = _best(given, results)
    yield from _figures("best", "50.6", best)
    yield Figure("engine_memory_peak", best.peak_bytes / GB, "GB", 0.75 * REFERENCE_PEAK_GB)
    speeds = [best.summary[model]["prefill_tokens_per_second"] for model in ("pruned", "dense")]
    yield Figure("engine_prefill_over_dense", speeds[0] / speeds[1], "times", 1.6, at_least=True)
    # By its own name the method is held to the same bar.
    guided = run("lora_prune_50.6", recipe(given, given.twin, "50.6", GUIDED), results)
    yield from _figures("lora_prune", "50.6", guided)


def _speed(given: Material, results: Path) -> Iterator[Figure]:
    cut, masked = (
        run(
            f"speed_{when}",
            recipe(given, given.twin, "50.6", {**SHORT, "schedule": {"cut": when}}, windows=2),
            results,
        )
        for when in ("every_event", "after_training")
    )
    faster = masked.training_seconds / cut.training_seconds
    yield Figure("engine_speed_over_masked_only", faster, "times", 1.3, at_least=True)
    steps = [after - before for before, after in zip(cut.steps, cut.steps[1:], strict=False)]
    tenth = len(cut.steps) // 10
    # What came before the first step is not its affair, and the cut is in the last one of the first tenth.
    faster = (sum(steps[: tenth - 2]) / (tenth - 2)) / (sum(steps[-tenth:]) / tenth)
    yield Figure("engine_last_tenth_over_first", faster, "times", 1.6, at_least=True)


def _everything(given: Material, results: Path) -> Iterator[Figure]:
    models = {"twin": given.twin, "grouped": given.grouped}
    for seed, model, kept in product(SEEDS, models, PERPLEXITY_BARS):
        if (seed, model, kept) != (SEEDS[0], "twin", "50.6"):  # which is the best's own row
            with_reference = kept == "80" and seed == SEEDS[0]
            job = recipe(given, models[model], kept, BEST, seed=seed, finetuned_reference=with_reference)
            row = run(f"{model}_{kept}_{seed}", job, results)
            yield from _figures(f"{model}_seed_{seed}", kept, row)
            if with_reference:
                tuned = row.summary["dense_finetuned"]["perplexity"]
                yield Figure(
                    f"engine_perplexity_{kept}_{model}_over_dense_tuned", row.perplexity / tuned, "times", 1.05
                )
    for seed, kept in product(SEEDS, PERPLEXITY_BARS):
        if (seed, kept) != (SEEDS[0], "50.6"):
            row = run(f"lora_prune_{kept}_{seed}", recipe(given, given.twin, kept, GUIDED, seed=seed), results)
            yield from _figures(f"lora_prune_seed_{seed}", kept, row)
    for kept in PERPLEXITY_BARS:
        row = run(f"by_layer_{kept}", recipe(given, given.twin, kept, BY_LAYER), results)
        yield from _figures("by_layer", kept, row)
    others: dict[str, Method] = {
        "lora_prune_iterative": GUIDED_ITERATIVE,
        "lora_prune_by_layer": GUIDED_BY_LAYER,
        "switch_strict": STRICT,
        **{f"switch_{name}": method for name, method in SWITCHES.items()},
    }
    for name, method in others.items():
        row = run(name, recipe(given, given.twin, "50.6", method), results)
        yield from _figures(name, "50.6", row)
        if name == "switch_masked_until_the_end":
            whole = row.training_seconds / _best(given, results).training_seconds
            yield Figure("engine_speed_of_a_whole_run_over_masked_only", whole, "times", 1.3, at_least=True)


def _best(given: Material, results: Path) -> Row:
    return run("best_50.6", recipe(given, given.twin, "50.6", BEST, benchmark=True), results)


def _figures(name: str, kept: str, row: Row) -> Iterator[Figure]:
    """What a row is worth, and that it is as small as its name says."""
    yield Figure(f"engine_perplexity_{kept}_{name}", row.perplexity, "perplexity", PERPLEXITY_BARS[kept])
    stays = 100 * (1 - row.summary["achieved_ratio"])
    yield Figure(f"engine_kept_{kept}_{name}", stays, "% of the block parameters", float(kept))
    for further in row.summary["perplexities"] if kept == "50.6" else []:  # the size that the bar is known for
        worse = further["pruned"] / further["dense"]
        yield Figure(f"engine_further_{kept}_{name}", worse, "times the dense model's", FURTHER_BAR)
