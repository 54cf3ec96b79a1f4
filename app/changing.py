"""What may be changed of a job after it was asked for. Never commits."""

from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.orm import Session

from app import ranges, store, verbs
from jobs import errors, transitions
from jobs.sources import Spec
from jobs.specs import PRIORITIES, MetadataKey, MetadataValue, Priority
from jobs.states import Status
from jobs.tables import JobRow

MOST_METADATA = 16
WAITS = frozenset({Status.QUEUED, Status.PAUSED})
NORMAL: Priority = "normal"


class JobPatch(Spec):
    """A JSON Merge Patch (RFC 7396): what is not there stays, what is null goes."""

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    metadata: dict[MetadataKey, MetadataValue | None] | None = Field(None, max_length=2 * MOST_METADATA)
    priority: Priority | None = Field(None, description="Of a job that waits or is paused; null: as by default.")


def etag(row: JobRow) -> str:
    """The entity tag of a job: its version."""
    return f'"{row.version}"'


def apply(session: Session, job_id: str, patch: JobPatch, *, project_id: str, if_match: str | None) -> JobRow:
    """Change a job, unless it is as the patch would have it.

    Raises:
        NotFound: there is no such job.
        VersionMismatch: it has another version than those of `if_match`.
        InvalidSpec: it would have too much metadata.
        StateConflict: its turn has come, so that its priority does not matter.
    """
    row = store.get(session, job_id, project_id=project_id)
    session.refresh(row, with_for_update=True)
    if if_match is not None and not ranges.is_current(if_match, etag(row)):
        raise errors.VersionMismatch(
            f"The job is at version {row.version} by now.", hint="Read it again, and decide again."
        )
    values = _values(row, patch)
    if not values:
        return row
    if "priority" in values and row.status not in WAITS:
        raise errors.StateConflict(
            f"Job {job_id} is {row.status}; only a job that waits or is paused can have another priority.",
            allowed=verbs.possible(row),
        )
    told = {name.rstrip("_"): value for name, value in values.items()}
    if "priority" in told:
        told["priority"] = patch.priority or NORMAL
    changed = transitions.change(session, job_id, events=[("updated", told)], version=JobRow.version + 1, **values)
    assert changed is not None, "the row is locked"
    return changed


def _values(row: JobRow, patch: JobPatch) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if "name" in patch.model_fields_set:
        asked["name"] = patch.name
    if "priority" in patch.model_fields_set:
        asked["priority"] = PRIORITIES[patch.priority or NORMAL]
    if "metadata" in patch.model_fields_set:
        merged = {} if patch.metadata is None else row.metadata_ | patch.metadata
        asked["metadata_"] = {key: value for key, value in merged.items() if value is not None}
        if len(asked["metadata_"]) > MOST_METADATA:
            detail = f"a job has at most {MOST_METADATA} entries of metadata"
            field = errors.FieldError(pointer="/metadata", code="too_long", detail=detail)
            raise errors.InvalidSpec(f"/metadata: {detail}.", errors=(field,))
    return {name: value for name, value in asked.items() if getattr(row, name) != value}
