"""The statuses of a job, the moves between them, what a client may ask for in each, and the phases of a running job."""

from enum import StrEnum


class Status(StrEnum):
    """Where a job stands. Past participles are resting places, -ing forms pass by themselves."""

    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker holds its lease
    PAUSING = "pausing"  # a worker was told to write a checkpoint and let go
    PAUSED = "paused"  # waits for its owner
    CANCELLING = "cancelling"  # a worker was told to stop
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


MOVES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.CANCELLED, Status.FAILED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.PAUSING, Status.CANCELLING, Status.SUCCEEDED, Status.FAILED}),
    # A job may reach its end before it hears that it should stop: then it succeeded.
    Status.PAUSING: frozenset({Status.PAUSED, Status.CANCELLING, Status.SUCCEEDED, Status.FAILED}),
    Status.PAUSED: frozenset({Status.QUEUED, Status.CANCELLED, Status.FAILED}),
    Status.CANCELLING: frozenset({Status.CANCELLED, Status.SUCCEEDED, Status.FAILED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset({Status.QUEUED}),
    Status.CANCELLED: frozenset({Status.QUEUED}),
}

FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})
"""Nothing happens to these any more by itself; only their owner can ask for more."""

LEASED = frozenset({Status.RUNNING, Status.PAUSING, Status.CANCELLING})


def sources(target: Status) -> frozenset[Status]:
    """The statuses from which a job may move to `target`."""
    return frozenset(status for status, moves in MOVES.items() if target in moves)


class Verb(StrEnum):
    """What the owner of a job may ask for."""

    CANCEL = "cancel"  # stop now; checkpoints are kept for a while
    PAUSE = "pause"  # write a checkpoint and let the worker go
    RESUME = "resume"  # go on from the newest checkpoint
    FINISH = "finish"  # stop training and publish what there is
    RETRY = "retry"  # begin anew


VERBS: dict[Verb, dict[Status, Status]] = {
    Verb.CANCEL: {
        Status.QUEUED: Status.CANCELLED,
        Status.PAUSED: Status.CANCELLED,
        Status.RUNNING: Status.CANCELLING,
        Status.PAUSING: Status.CANCELLING,
        Status.CANCELLING: Status.CANCELLING,
        Status.CANCELLED: Status.CANCELLED,
    },
    Verb.PAUSE: {
        Status.QUEUED: Status.PAUSED,
        Status.RUNNING: Status.PAUSING,
        Status.PAUSING: Status.PAUSING,
        Status.PAUSED: Status.PAUSED,
    },
    Verb.RESUME: {
        Status.PAUSED: Status.QUEUED,
        Status.FAILED: Status.QUEUED,
        Status.CANCELLED: Status.QUEUED,
        Status.QUEUED: Status.QUEUED,
        Status.RUNNING: Status.RUNNING,
    },
    Verb.FINISH: {Status.RUNNING: Status.RUNNING, Status.QUEUED: Status.QUEUED, Status.PAUSED: Status.QUEUED},
    Verb.RETRY: {Status.FAILED: Status.QUEUED, Status.CANCELLED: Status.QUEUED},
}
"""Where each verb takes a job from where it stands; to where it stands already if that is what was asked for."""


def allowed(status: Status, *, begun: bool, resumable: bool) -> tuple[Verb, ...]:
    """What may be asked of a job that stands so.

    Before its first attempt there is nothing to publish, and one that has ended goes on only from a checkpoint.
    """
    impossible = {Verb.FINISH} if not begun else set()
    if status in FINAL and not resumable:
        impossible |= {Verb.RESUME}
    return tuple(verb for verb, moves in VERBS.items() if status in moves and verb not in impossible)


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
    "converting",
    "evaluating",
    "uploading",
)
