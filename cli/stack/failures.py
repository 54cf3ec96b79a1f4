"""What can go wrong with a stack on one machine, each with what to do about it."""

import signal
from pathlib import Path

from jobs.errors import PruneryError


class StackError(PruneryError):
    """The local stack cannot start, or cannot go on."""

    code = "stack_error"
    title = "The local stack failed"


class ProgramMissing(StackError):
    """A server or a package that the stack is made of is not installed."""


class FolderInUse(StackError):
    """Another stack runs on this data folder, or has not quite ended."""


class FolderUnusable(StackError):
    """The data folder cannot be created, read or written."""


class NoUnprivilegedUser(StackError):
    """PostgreSQL refuses to run as root and there is no other user that could run it here."""


class PartFailed(StackError):
    """One process of the stack ended, or never became ready; `log_tail` holds its last words."""

    def __init__(self, part: str, what: str, *, log: Path, log_tail: str) -> None:
        super().__init__(f"{part} {what}.", hint=f"The last lines of its log, {log}:\n{log_tail}")
        self.part = part
        self.log_tail = log_tail


def describe_end(returncode: int) -> str:
    """A return code of `subprocess` in words: a negative one is the signal that ended the process."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    return f"was ended by {name}"
