"""Which steps count as lost, by the rows of a job's attempts."""

import pytest

from app.attempts import lost_steps
from jobs.tables import AttemptRow

CASES: dict[str, tuple[list[tuple[int | None, int | None]], dict[int, int]]] = {
    "the only one": ([(None, 9)], {}),
    "another goes on from a checkpoint": ([(None, 9), (5, 20)], {1: 4}),
    "another begins anew": ([(None, 9), (None, 3)], {1: 9}),
    "a checkpoint of the very step": ([(None, 9), (9, 20)], {1: 0}),
    "one between ends before it begins": ([(None, 240), (None, None), (240, None)], {1: 0}),
    "nobody has begun since": ([(None, 9), (None, None)], {}),
    "again and again": ([(None, 9), (5, 7), (5, None)], {1: 4, 2: 2}),
}


@pytest.mark.parametrize(("rows", "lost"), CASES.values(), ids=CASES.keys())
def test_steps_are_lost_to_the_next_attempt_that_begins(
    rows: list[tuple[int | None, int | None]], lost: dict[int, int]
) -> None:
    attempts = [
        AttemptRow(number=number, resumed_step=resumed, reached_step=reached)
        for number, (resumed, reached) in enumerate(rows, start=1)
    ]
    assert lost_steps(attempts) == lost
