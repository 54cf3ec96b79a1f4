"""The statuses of a job, the moves between them, and the phases of a running one."""

from enum import StrEnum


class Status(StrEnum):
    """Where a job stands. Past participles are final, -ing forms pass by themselves."""

    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker holds its lease
    CANCELLING = "cancelling"  # a worker was told to stop
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


MOVES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.CANCELLING, Status.SUCCEEDED, Status.FAILED}),
    # A job may reach its end before it hears that it should stop: then it succeeded.
    Status.CANCELLING: frozenset({Status.CANCELLED, Status.SUCCEEDED, Status.FAILED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

FINAL = frozenset(status for status, moves in MOVES.items() if not moves)
LEASED = frozenset({Status.RUNNING, Status.CANCELLING})


def sources(target: Status) -> frozenset[Status]:
    """The statuses from which a job may move to `target`."""
    return frozenset(status for status, moves in MOVES.items() if target in moves)


PHASES = (
    "preparing",
    "downloading_base",
    "loading_data",
    "baseline_eval",
    "reference_tuning",
    "scoring",
    "pruning",
    "recovering",
    "merging",
    "exporting",
    "verifying",
    "evaluating",
    "uploading",
)
