"""Tasks of the lm-eval harness, which is an extra: `pip install 'prunery[eval]'`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from jobs import errors
from jobs.memory import EVALUATION_TOKENS

BOOTSTRAP = 1000
"""Resamplings for the standard error of a metric that is no mean; that of a mean is exact."""

Scores = dict[str, dict[str, float]]
"""Metrics by task; a metric's standard error has `_stderr` in its name."""


def check(tasks: Sequence[str]) -> None:
    """Find out before the work starts what would go wrong after it.

    Raises:
        EvaluationImpossible: the extra is not installed, or a task is unknown.
    """
    if not tasks:
        return
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise errors.EvaluationImpossible(
            f"evaluation.tasks needs the lm-eval harness, which this worker has not: {error}.",
            hint="Install the extra: pip install 'prunery[eval]'. multiple_choice needs no extra.",
        ) from error
    manager = TaskManager()
    unknown = sorted(set(tasks) - set(manager.all_tasks))
    if unknown:
        raise errors.EvaluationImpossible(
            f"The lm-eval harness knows no task {unknown[0]!r}.", hint="`lm-eval ls tasks` lists what it knows."
        )
    with _named_failure():
        manager.load(list(tasks))  # which brings their data sets to this machine


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[str | dict[str, Any]],
    *,
    limit: int | None,
    seed: int,
) -> Scores:
    """Every task's metrics, by the harness's own defaults; `tasks` are names or, as the harness has it, configurations.

    Raises:
        EvaluationImpossible: a task cannot be run, for example as its data set cannot be had.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    longest = int(model.config.max_position_embeddings)
    wrapped = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=max(1, EVALUATION_TOKENS // longest))
    with _named_failure():
        found = simple_evaluate(
            wrapped,
            tasks=list(tasks),
            limit=limit,
            bootstrap_iters=BOOTSTRAP,
            log_samples=False,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    return {task: _metrics(values) for task, values in found["results"].items()}


@contextmanager
def _named_failure() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, RuntimeError, LookupError) as error:
        raise errors.EvaluationImpossible(
            f"The lm-eval harness failed: {error}", hint="Its data sets come from the hub."
        ) from error


def _metrics(values: Mapping[str, Any]) -> dict[str, float]:
    """`acc,none` is the metric `acc` without a filter; what is not a number is its name or its alias."""
    return {
        key.removesuffix(",none"): float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and key != "sample_len"
    }
