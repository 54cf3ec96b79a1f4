"""The messages that webhooks are to carry, made in the transaction of the event that they tell of."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from jobs import ids
from jobs.registry_tables import ModelRow
from jobs.tables import JobRow, Json
from jobs.webhook_events import wanted
from jobs.webhook_tables import WebhookDeliveryRow, WebhookEndpointRow

if TYPE_CHECKING:
    from jobs.transitions import Event

# The types of messages by the events of a job; of all other events nobody is told.
NAMES = {
    "running": "started",
    "phase": "phase_changed",
    "checkpoint_saved": "checkpoint_saved",
    "paused": "paused",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}
MOST_BYTES = 20_000
MOST_CHARACTERS = 1_000


def announce(session: Session, row: JobRow, events: Sequence["Event"]) -> None:
    """Write a delivery for each endpoint that wants to hear of an event."""
    told = [(f"compression.job.{name}", data) for type_, data in events if (name := _name(row, type_, data))]
    if not told:
        return
    messages = [(type_, _description(row, data)) for type_, data in told]
    _tell(session, row.project_id, row.id, messages)


def tell_of_model(
    session: Session, row: ModelRow, name: str, event: str, data: Json, *, job_id: str | None = None
) -> None:
    """Write a delivery for each endpoint that wants to hear what happened to a model.

    Args:
        name: Of the model, with its namespace.
        event: `published`, `alias_changed` or `deleted`.
        job_id: Whose doing it is, if a job's.
    """
    about = {"object": "model", "id": row.id, "name": name, "job_id": job_id, **data, "url": f"/v1/models/{name}"}
    _tell(session, row.project_id, job_id, [(f"model.{event}", about)])


def tell_of_quota(session: Session, project_id: str, quota: str, *, limit: int, used: int) -> None:
    """Write a delivery for each endpoint that wants to hear that a project has all that it may have."""
    about = {"object": "quota", "name": quota, "limit": limit, "used": used, "url": "/v1/quotas"}
    _tell(session, project_id, None, [("quota.exceeded", about)])


def _tell(session: Session, project_id: str, job_id: str | None, messages: Sequence[tuple[str, Json]]) -> None:
    # Locked against removal only, which would otherwise undo the transaction of what is told.
    query = (
        select(WebhookEndpointRow.id, WebhookEndpointRow.events, func.now())
        .where(
            WebhookEndpointRow.project_id == project_id,
            WebhookEndpointRow.disabled_at.is_(None),
            or_(WebhookEndpointRow.job_id.is_(None), WebhookEndpointRow.job_id == job_id),
        )
        .with_for_update(read=True, key_share=True, of=WebhookEndpointRow)
    )
    for endpoint_id, events, now in session.execute(query).all():
        for type_, data in messages:
            if wanted(type_, events):
                add(session, endpoint_id, type_, now, data, job_id=job_id)


def add(
    session: Session, endpoint_id: str, type_: str, at: datetime, data: Json, *, job_id: str | None = None
) -> WebhookDeliveryRow:
    """Have one endpoint told, at once."""
    body = _body(type_, at, data)
    row = WebhookDeliveryRow(id=ids.new("msg"), endpoint_id=endpoint_id, job_id=job_id, type=type_, body=body)
    session.add(row)
    session.flush()
    return row


def disable(session: Session, endpoint_id: str, reason: str) -> None:
    """Send nothing more to an endpoint; what still waits for it has failed, and can be sent again by hand."""
    session.execute(
        update(WebhookEndpointRow)
        .where(WebhookEndpointRow.id == endpoint_id, WebhookEndpointRow.disabled_at.is_(None))
        .values(disabled_at=func.now(), disabled_reason=reason)
    )
    session.execute(
        update(WebhookDeliveryRow)
        .where(WebhookDeliveryRow.endpoint_id == endpoint_id, WebhookDeliveryRow.status == "pending")
        .values(status="failed", due_at=None, ended_at=func.now())
    )


def _name(row: JobRow, type_: str, data: Json) -> str | None:
    if type_ == "queued" and data.get("verb") == "resume":
        return "resumed"
    if type_ == "queued":
        return "retrying" if row.attempt else "queued"
    return NAMES.get(type_)


def _description(row: JobRow, event: Json) -> Json:
    """What a receiver needs to act on, or to know what to ask for; `version` puts messages in their order."""
    error = row.error and {
        "code": row.error.get("code"),
        "message": str(row.error.get("message"))[:MOST_CHARACTERS],
    }
    return {
        "object": "compression.job",
        "id": row.id,
        "name": row.name,
        "status": row.status,
        "version": row.version,
        "phase": event.get("phase", row.phase),
        "reason": row.reason,
        "attempt": row.attempt,
        "step": event.get("step"),
        "error": error,
        "url": f"/v1/compression/jobs/{row.id}",
        "metadata": row.metadata_,
    }


def _body(type_: str, at: datetime, data: Json) -> str:
    message = {"type": type_, "timestamp": at.isoformat(), "data": data}
    text = json.dumps(message, ensure_ascii=False)
    if len(text.encode()) > MOST_BYTES:
        # Receivers refuse long messages; the job itself can be asked for the rest.
        text = json.dumps({**message, "data": {**data, "metadata": None}}, ensure_ascii=False)
    return text
