"""LoRA fine-tuning with structured pruning, in one cut or several.

Source: LoRAPrune, Zhang et al. 2024, arXiv:2305.18403. Where we differ: units are KV groups, so grouped queries hold;
unless asked otherwise every layer keeps the same widths and none is exempt, so that the result is a stock configuration
without padding; units are cut away while training goes on, not masked, so that steps get faster; the target is met
exactly at the last event, counted in parameters; unless asked otherwise units are scored by the exact gradients of
their masks (`scores.mask_gradient`), not by the paper's proxy, which here leaves out its quadratic term
(`scores.lora_gradient`) and can be asked what the exact ones are asked (`scores.lora_fisher`); each cut is compensated
by least squares.
"""

from functools import partial

from jobs.budgets import PerplexityLimit
from jobs.specs import LoraPruneSpec
from worker.engine import adapters, alignment, evaluation, scores, training
from worker.engine.methods import teachers
from worker.engine.methods.outcome import Outcome, Task
from worker.engine.perplexity_limit import PerplexityWatch
from worker.engine.pruning import IterativePruning

CHECKPOINT_WINDOWS = 8
"""Held-out windows that a checkpoint is measured on, to know the best one."""


def run(task: Task, spec: LoraPruneSpec) -> Outcome:
    """Train the adapters while units go."""
    task.reporter.phase("scoring")
    windows, teaching = teachers.engage(task, spec)
    calibration = task.windows.shuffled(task.seed)
    adapted = adapters.attach(task.model, task.family, spec.lora, seed=task.seed)
    training.recompute(task.model, spec.train)
    alignment.begin(task.model, task.family, calibration, spec, task.saving)
    limit = spec.target if isinstance(spec.target, PerplexityLimit) else None
    watch = None if limit is None else PerplexityWatch(task.model, task.held_out, limit)
    scorer = scores.start(task.model, task.family, task.shape, spec.score, seed=task.seed)
    pruning = IterativePruning(
        task.model, task.family, task.shape, task.goal, spec, scorer, calibration, task.reporter, watch
    )
    resume_from = None if task.saving is None else task.saving.resume_from
    if resume_from is None:
        pruning.score_untouched()
    else:
        pruning.restore(resume_from)
    complete = training.train(
        adapted,
        windows,
        spec.train,
        seed=task.seed,
        folder=task.work,
        reporter=task.reporter,
        callbacks=[pruning],
        saving=task.saving,
        add_state=pruning.save,
        teaching=teaching,
        orders=task.orders,
        may_finish=pruning.has_cut,
        measure=partial(evaluation.perplexity, task.model, task.held_out, CHECKPOINT_WINDOWS),
    )
    plan = pruning.finished(early=not complete)
    return Outcome(plan, watch.walk if watch else None, ended_early=not complete)
