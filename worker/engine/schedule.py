"""When units are removed, and what part of the way to the target each event goes."""

import math

from jobs import errors
from jobs.budgets import PerplexityLimit
from jobs.specs import LoraPruneSpec, ScheduleSpec


def fraction(step: int, total_steps: int, spec: ScheduleSpec) -> float:
    """Part of the target that should be gone after `step` optimizer steps, 0 to 1.

    Source: the cubic ramp of arXiv:2305.18403, 1 − (1 − τ)³ with τ the progress between warm-up and cool-down.
    """
    if step >= last_event(total_steps, spec):
        return 1.0
    start, end = spec.warmup_fraction * total_steps, (1 - spec.cooldown_fraction) * total_steps
    progress = max((step - start) / (end - start), 0.0)
    return 1 - (1 - progress) ** 3


def last_event(total_steps: int, spec: ScheduleSpec) -> int:
    """The step after whose scores the target is met exactly; everything later is recovery."""
    end = (1 - spec.cooldown_fraction) * total_steps
    return max(1, math.ceil(round(end, 6)))  # what a binary 1 − 0.99 leaves of 100 steps is a little more than one


def is_event(step: int, total_steps: int, spec: ScheduleSpec) -> bool:
    """Whether units are removed at `step` (from 1): at the end of the window, and every so many steps inside it."""
    last, every = last_event(total_steps, spec), spec.prune_every_steps
    inside = spec.warmup_fraction * total_steps < step < last
    return step == last or (inside and every is not None and step % every == 0)


def check(total_steps: int, spec: LoraPruneSpec) -> None:
    """
    Raises:
        DatasetTooShort: the text gives so few steps that none is left to recover in, though some was asked for.
        ScheduleImpossible: a limit on perplexity has one cut only to choose from.
    """
    ramp = spec.schedule
    if spec.train.steps is None and ramp.cooldown_fraction > 0 and last_event(total_steps, ramp) >= total_steps:
        raise errors.DatasetTooShort(
            f"The training text gives {total_steps} steps in {spec.train.epochs:g} epochs, and the last cut is at the "
            "last of them: nothing is left to recover in.",
            hint="Give more text, more epochs, a smaller batch_size or sequence_length, or name the steps.",
        )
    events = sum(is_event(step, total_steps, ramp) for step in range(1, last_event(total_steps, ramp) + 1))
    if isinstance(spec.target, PerplexityLimit) and events < 2:
        raise errors.ScheduleImpossible(
            f"A limit on perplexity chooses between sizes, and this schedule cuts once in {total_steps} steps.",
            hint="Ask for a longer way with more cuts: schedule.cooldown_fraction 0.5, a smaller prune_every_steps.",
        )
