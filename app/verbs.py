"""What the owner of a job asks of it: cancel, pause, resume, finish, retry. Never commits."""

from typing import Any

from pydantic import Field, ValidationError
from sqlalchemy import func
from sqlalchemy.orm import Session

from app import pointers
from jobs import transitions
from jobs.errors import InvalidSpec, NotFound, StateConflict
from jobs.overrides import Overrides, overridden
from jobs.sources import Spec
from jobs.specs import JobSpec
from jobs.states import FINAL, VERBS, Status, Verb, allowed
from jobs.tables import JobRow, Json

REASON = "user_requested"
FLAGS = {
    Verb.CANCEL: "cancel_requested_at",
    Verb.PAUSE: "pause_requested_at",
    Verb.FINISH: "finish_requested_at",
}


class Request(Spec):
    """What may go with a verb."""

    reason: str | None = Field(None, max_length=500, description="Why, for those who read the events later.")


class ResumeRequest(Request):
    """What may go with `resume`."""

    overrides: Overrides = Field(Overrides(), description="What the attempts from now on do differently.")


def act(
    session: Session,
    job_id: str,
    verb: Verb,
    request: Request | None = None,
    *,
    project_id: str,
    max_attempts: int = 1,
) -> JobRow:
    """Do what was asked, at once or through the worker that holds the job; asking again changes nothing.

    Args:
        max_attempts: How many further attempts a job that begins again may take.
    Raises:
        NotFound: there is no such job.
        StateConflict: the job does not stand so that this could be asked.
        InvalidSpec: the overrides do not fit the job.
    """
    row = session.get(JobRow, job_id, with_for_update=True, populate_existing=True)
    if row is None or row.project_id != project_id:
        raise NotFound(f"There is no job {job_id!r}.")
    request = request or Request()
    status = Status(row.status)
    target = VERBS[verb].get(status)
    if verb is Verb.RETRY and _begins_anew(row):
        return row
    if target is None or verb not in possible(row):
        hint = "" if row.attempt else " and has not begun"
        if verb is Verb.RESUME and status in FINAL:
            hint = " and has no checkpoint to go on from"
        raise StateConflict(f"Job {job_id} is {status}{hint}: {verb} is not possible.", allowed=possible(row))
    values = _values(row, verb, request, max_attempts=max_attempts)
    data: Json = {"reason": REASON, **({"message": request.reason} if request.reason else {})}
    if verb is Verb.RESUME:
        data["begins_anew"] = not row.resumable
    if target is not status:
        moved = transitions.move(session, job_id, target, data={**data, "verb": str(verb)}, **values)
    elif verb is Verb.FINISH and row.finish_requested_at is None:
        moved = transitions.change(
            session, job_id, events=[("finish_requested", data)], version=JobRow.version + 1, **values
        )
    else:
        return row
    assert moved is not None, "the row is locked, so its status cannot have changed"
    return moved


def possible(row: JobRow) -> tuple[Verb, ...]:
    """What may be asked of a job as it stands."""
    return allowed(Status(row.status), begun=row.attempt > 0, resumable=row.resumable)


def _begins_anew(row: JobRow) -> bool:
    """Whether it is, or will be, in an attempt that goes on from no other."""
    match row.status:
        case Status.QUEUED:
            return row.first_attempt == row.attempt + 1
        case Status.RUNNING:
            return row.first_attempt == row.attempt
        case _:
            return False


def _values(row: JobRow, verb: Verb, request: Request, *, max_attempts: int) -> dict[str, Any]:
    values: dict[str, Any] = {FLAGS[verb]: func.now()} if verb in FLAGS else {}
    match verb:
        case Verb.CANCEL | Verb.PAUSE:
            values["reason"] = REASON
        case Verb.RESUME | Verb.RETRY:
            values |= dict.fromkeys((*FLAGS.values(), "reason", "error", "not_before"))
            # A paused job goes on where it was; one that had ended is given as many attempts as it had at first.
            if row.status != Status.PAUSED:
                values |= {"max_attempts": row.attempt + max_attempts, "free_attempts": 0}
    if verb is Verb.RETRY:
        values |= {"overrides": {}, "progress": None, "progress_at": None}
        # Nothing was before the checkpoint that a job was made to publish.
        if row.from_checkpoint is None:
            values |= {"first_attempt": row.attempt + 1, "resumable": False}
    if isinstance(request, ResumeRequest):
        values["overrides"] = _overrides(row, request.overrides)
    return values


def _overrides(row: JobRow, asked: Overrides) -> Json:
    overrides = {**row.overrides, **asked.model_dump(exclude_none=True)}
    try:
        JobSpec.model_validate(overridden(row.spec, overrides))
    except ValidationError as error:
        with pointers.at("/overrides"):
            raise InvalidSpec(f"With these overrides the job is impossible: {error.errors()[0]['msg']}.") from error
    return overrides
