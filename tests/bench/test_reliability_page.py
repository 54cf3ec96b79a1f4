"""The page on reliability names tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_race_has_its_test() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text()))
    written = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 15
    assert not [name for name in named if f"def {name}(" not in written]
