"""The schedule's known values, and its end."""

import pytest

from jobs.specs import ScheduleSpec
from worker.engine import schedule


def test_the_cubic_ramp_has_its_known_values() -> None:
    spec = ScheduleSpec(warmup_fraction=0.1, cooldown_fraction=0.1)
    found = [0.5 * schedule.fraction(step, 1000, spec) for step in (100, 200, 300, 400, 500, 700, 900, 1000)]
    # τ = 1/8, 1/4, … : ½(1 − (7/8)³) = 0.16504, ½(1 − (3/4)³) = 0.28906, …
    assert found == pytest.approx([0, 0.16504, 0.28906, 0.37793, 0.4375, 0.49219, 0.5, 0.5], abs=1e-5)


@pytest.mark.parametrize("total", [1, 2, 7, 60, 1000])
@pytest.mark.parametrize("every", [1, 10])
def test_the_last_event_is_inside_the_run_and_reaches_the_target(total: int, every: int) -> None:
    spec = ScheduleSpec(prune_every_steps=every)
    events = [step for step in range(1, total + 1) if schedule.is_event(step, total, spec)]
    assert events[-1] == schedule.last_event(total, spec) <= total
    assert schedule.fraction(events[-1], total, spec) == 1.0
