"""How a figure is judged and printed."""

import pytest

from bench.figure import Figure


@pytest.mark.parametrize(
    ("value", "bar", "line"),
    [
        (0, 0, "BENCH name 0 unit 0 ok"),
        (1, 0, "BENCH name 1 unit 0 short"),
        (150.0, 150, "BENCH name 150 unit 150 ok"),
        (150.5, 150, "BENCH name 150.5 unit 150 short"),
        (2.5e-6, 1e-4, "BENCH name 2.5e-06 unit 0.0001 ok"),
        (float("nan"), 1e-4, "BENCH name nan unit 0.0001 short"),
    ],
)
def test_a_figure_is_ok_up_to_its_bar(value: float, bar: float, line: str) -> None:
    assert str(Figure("name", value, "unit", bar)) == line


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (1.3, "BENCH name 1.3 unit 1.3 ok"),
        (1.29, "BENCH name 1.29 unit 1.3 short"),
        (float("nan"), "BENCH name nan unit 1.3 short"),
    ],
)
def test_a_figure_may_have_to_reach_its_bar(value: float, line: str) -> None:
    assert str(Figure("name", value, "unit", 1.3, at_least=True)) == line
