"""When units are removed, and what part of the way to the target each event goes."""

import math

from jobs.specs import ScheduleSpec


def fraction(step: int, total_steps: int, spec: ScheduleSpec) -> float:
    """Part of the target that should be gone after `step` optimizer steps, 0 to 1.

    Source: the cubic ramp of arXiv:2305.18403, 1 − (1 − τ)³ with τ the progress between warm-up and cool-down.
    """
    start, end = spec.warmup_fraction * total_steps, (1 - spec.cooldown_fraction) * total_steps
    progress = min(max((step - start) / (end - start), 0.0), 1.0)
    return 1 - (1 - progress) ** 3


def last_event(total_steps: int, spec: ScheduleSpec) -> int:
    """The step after whose scores the target is met exactly; everything later is recovery."""
    return max(1, math.ceil((1 - spec.cooldown_fraction) * total_steps))


def is_event(step: int, total_steps: int, spec: ScheduleSpec) -> bool:
    """Whether units are removed at `step` (from 1): every so many steps inside the window, and at its end."""
    last = last_event(total_steps, spec)
    inside = spec.warmup_fraction * total_steps < step < last
    return step == last or (inside and step % spec.prune_every_steps == 0)
