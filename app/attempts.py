"""What the attempts at a job have cost."""

from collections.abc import Iterable
from itertools import pairwise

from jobs.tables import AttemptRow


def lost_steps(rows: Iterable[AttemptRow]) -> dict[int, int]:
    """By an attempt's number, the steps of it that another had to take again; without those that nobody followed.

    One that ended before it had taken up a checkpoint or taken a step has lost nothing, nor did it take any again: the
    next one counts in its place.

    Args:
        rows: of one job, in their order.
    """
    begun = [row for row in rows if row.resumed_step is not None or row.reached_step is not None]
    return {
        one.number: max(0, (one.reached_step or 0) - (following.resumed_step or 0))
        for one, following in pairwise(begun)
    }
