"""The schedule's known values, and its end."""

import pytest

from jobs import errors
from jobs.specs import ScheduleSpec
from tests.worker.engine.runs import spec_of
from worker.engine import schedule


def test_the_cubic_ramp_has_its_known_values() -> None:
    spec = ScheduleSpec(warmup_fraction=0.1, cooldown_fraction=0.1)
    found = [0.5 * schedule.fraction(step, 1000, spec) for step in (100, 200, 300, 400, 500, 700, 900, 1000)]
    # τ = 1/8, 1/4, … : ½(1 − (7/8)³) = 0.16504, ½(1 − (3/4)³) = 0.28906, …
    assert found == pytest.approx([0, 0.16504, 0.28906, 0.37793, 0.4375, 0.49219, 0.5, 0.5], abs=1e-5)


@pytest.mark.parametrize("total", [1, 2, 7, 60, 1000])
@pytest.mark.parametrize("every", [None, 1, 10])
def test_the_last_event_is_inside_the_run_and_reaches_the_target(total: int, every: int | None) -> None:
    spec = ScheduleSpec(prune_every_steps=every)
    found = events(total, spec)
    assert found[-1] == schedule.last_event(total, spec) <= total
    assert schedule.fraction(found[-1], total, spec) == 1.0


@pytest.mark.parametrize("total", [10, 100, 1000, 10_000])
def test_units_go_at_once_when_a_tenth_of_the_steps_is_done_unless_told_otherwise(total: int) -> None:
    assert events(total, ScheduleSpec()) == [total // 10]


@pytest.mark.parametrize(
    ("total", "cooldown", "every", "expected"),
    [
        (100, 0.99, 10, [1]),
        (1000, 0.99, 10, [10]),
        (2000, 0.99, 10, [10, 20]),
        (300, 0.9, 10, [10, 20, 30]),
        (100, 0.93, None, [7]),
        (101, 0.99, None, [2]),
    ],
)
def test_parts_of_the_steps_are_decimal(total: int, cooldown: float, every: int | None, expected: list[int]) -> None:
    assert events(total, ScheduleSpec(cooldown_fraction=cooldown, prune_every_steps=every)) == expected


def events(total: int, spec: ScheduleSpec) -> list[int]:
    return [step for step in range(1, total + 1) if schedule.is_event(step, total, spec)]


def test_a_text_too_small_for_the_schedule_is_refused_by_name() -> None:
    with pytest.raises(errors.DatasetTooShort, match="1 steps") as refused:
        schedule.check(1, spec_of(train={"steps": None}))
    assert "more text" in refused.value.hint
    schedule.check(1, spec_of(train={"steps": 1}))  # as it was asked for


def test_a_limit_on_perplexity_needs_a_choice_of_cuts() -> None:
    limit = {"type": "perplexity", "increase": 0.1}
    with pytest.raises(errors.ScheduleImpossible, match="cuts once in 60 steps"):
        schedule.check(
            60, spec_of(ratio=None, target=limit, schedule={"warmup_fraction": 0, "cooldown_fraction": 0.99})
        )
    schedule.check(60, spec_of(ratio=None, target=limit, schedule={"cooldown_fraction": 0.5, "prune_every_steps": 5}))
