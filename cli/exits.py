"""What the exit code of a command says."""

from enum import IntEnum

from jobs.states import Status


class Exit(IntEnum):
    """The same numbers for every command."""

    SUCCESS = 0
    FAILURE = 1
    REFUSED = 2  # as click: the command line, the recipe, the id or the key is wrong
    CANCELLED = 3
    INTERRUPTED = 130  # as shells: Ctrl-C


EXIT_CODES = "Exit codes: 0 success, 1 failure, 2 bad input, 3 cancelled, 130 interrupted."


def of(status: Status) -> Exit:
    """The exit code that tells how a job stands; a job that is still under way is no failure."""
    match status:
        case Status.FAILED:
            return Exit.FAILURE
        case Status.CANCELLED:
            return Exit.CANCELLED
        case Status.QUEUED | Status.RUNNING | Status.PAUSING | Status.PAUSED | Status.CANCELLING | Status.SUCCEEDED:
            return Exit.SUCCESS
