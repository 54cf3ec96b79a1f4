"""Why a job failed, as the row and the clients have it."""

from jobs.errors import PruneryError
from jobs.tables import Json


def describe(error: PruneryError, *, phase: str | None, step: int | None = None) -> Json:
    return {
        "code": error.code,
        "message": error.detail,
        "hint": error.hint,
        "retryable": error.retryable,
        "phase": phase,
        "step": step,
    }
