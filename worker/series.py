"""What the engine measures step by step, kept as series for charts. Never commits."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from jobs.tables import Json, MetricRow

# What places a step or foretells the rest is no measurement.
PLACES = frozenset({"step", "total_steps", "percent", "sparsity_target", "eta_seconds"})
LONGEST_KEY = 64


class Point(NamedTuple):
    """One value of one series."""

    key: str
    step: int
    value: float


def points(progress: Json) -> list[Point]:
    """The measurements of one step; what is not a number, or not known, is left out."""
    step = progress.get("step")
    if type(step) is not int or not 0 <= step < 2**31:
        return []
    return [
        Point(key, step, float(value))
        for key, value in progress.items()
        if key not in PLACES and len(key) <= LONGEST_KEY and type(value) in (int, float) and math.isfinite(value)
    ]


def write(session: Session, job_id: str, measured: Sequence[Point], *, anew: bool) -> None:
    """Add points; a step that is measured again counts as it is now.

    Args:
        anew: The first ones of an attempt: what an earlier one measured from there on never was.
    """
    if not measured:
        return
    if anew:
        first = min(point.step for point in measured)
        session.execute(delete(MetricRow).where(MetricRow.job_id == job_id, MetricRow.step >= first))
    # The same place twice in one statement is refused by the database.
    rows = {(point.key, point.step): {"job_id": job_id, **point._asdict()} for point in measured}
    statement = insert(MetricRow)
    replaced = statement.on_conflict_do_update(
        index_elements=[MetricRow.job_id, MetricRow.key, MetricRow.step], set_={"value": statement.excluded.value}
    )
    session.execute(replaced, list(rows.values()))
