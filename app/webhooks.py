"""Webhook endpoints and their deliveries as clients see and change them. Never commits."""

import base64
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import keyset
from app.keyset import Page, Place
from jobs import ids, webhooks
from jobs.errors import NotFound, StateConflict, TooManyEndpoints
from jobs.sealing import Seal
from jobs.webhook_events import SECRET_PREFIX, TEST
from jobs.webhook_tables import WebhookAttemptRow, WebhookDeliveryRow, WebhookEndpointRow

# Each of them costs a row for each event of each job.
MOST_ENDPOINTS = 50
SECRET_BYTES = 32


def new_secret() -> str:
    """One that nobody can guess."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def create(
    session: Session,
    *,
    project_id: str,
    url: str,
    events: Sequence[str],
    secret: str,
    seal: Seal,
    description: str | None = None,
    job_id: str | None = None,
) -> WebhookEndpointRow:
    """A new endpoint, told of every event from now on.

    Args:
        job_id: tells of this job alone.
    Raises:
        TooManyEndpoints: the project has as many as it may have, not counting those of single jobs.
    """
    if job_id is None:
        query = select(func.count()).where(
            WebhookEndpointRow.project_id == project_id, WebhookEndpointRow.job_id.is_(None)
        )
        if session.scalars(query).one() >= MOST_ENDPOINTS:
            raise TooManyEndpoints(
                f"The project has {MOST_ENDPOINTS} webhook endpoints, the most that it may have.",
                hint="Remove one that nobody needs any more.",
            )
    row = WebhookEndpointRow(
        id=ids.new("we"),
        project_id=project_id,
        job_id=job_id,
        url=url,
        events=list(events),
        description=description,
        secret=seal.closed(secret),
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def get(session: Session, endpoint_id: str, *, project_id: str, lock: bool = False) -> WebhookEndpointRow:
    """
    Raises:
        NotFound: the project has no such endpoint.
    """
    row = session.get(WebhookEndpointRow, endpoint_id, with_for_update={"key_share": True} if lock else None)
    if row is None or row.project_id != project_id:
        raise NotFound(f"There is no webhook endpoint {endpoint_id!r}.")
    return row


def page(session: Session, place: Place, *, project_id: str, job_id: str | None = None) -> Page[WebhookEndpointRow]:
    """Endpoints, the newest first; with `job_id` only those that tell of this job alone."""
    conditions = [WebhookEndpointRow.project_id == project_id]
    if job_id is not None:
        conditions.append(WebhookEndpointRow.job_id == job_id)
    return keyset.page(session, WebhookEndpointRow, WebhookEndpointRow.id, place, *conditions)


def change(
    session: Session, endpoint_id: str, *, project_id: str, disabled: bool | None, **values: Any
) -> WebhookEndpointRow:
    """Change what is given of `url`, `events` and `description`, and switch it off or on."""
    row = get(session, endpoint_id, project_id=project_id, lock=True)
    for name, value in values.items():
        setattr(row, name, value)
    session.flush()
    if disabled:
        webhooks.disable(session, endpoint_id, "user_requested")
    elif disabled is False:
        row.disabled_at = row.disabled_reason = row.failing_since = None
        session.flush()
    session.refresh(row)
    return row


def remove(session: Session, endpoint_id: str, *, project_id: str) -> None:
    """Forget an endpoint with all that was or was to be told to it."""
    session.delete(get(session, endpoint_id, project_id=project_id))


def rotate_secret(
    session: Session, endpoint_id: str, *, project_id: str, secret: str, overlap: timedelta, seal: Seal
) -> WebhookEndpointRow:
    """Sign with another secret, and for `overlap` with the present one too."""
    row = get(session, endpoint_id, project_id=project_id, lock=True)
    row.old_secret = row.secret
    row.old_secret_until = func.now() + overlap
    row.secret = seal.closed(secret)
    session.flush()
    session.refresh(row)
    return row


def send_test(session: Session, endpoint_id: str, *, project_id: str) -> WebhookDeliveryRow:
    """Tell an endpoint that it would be told.

    Raises:
        StateConflict: it is disabled.
    """
    endpoint = _enabled(get(session, endpoint_id, project_id=project_id, lock=True))
    data = {"object": "webhook_endpoint", "id": endpoint.id, "message": "This is a test."}
    row = webhooks.add(session, endpoint.id, TEST, session.scalars(select(func.now())).one(), data)
    session.refresh(row)
    return row


def deliveries(
    session: Session, endpoint_id: str, place: Place, *, project_id: str, status: str | None
) -> Page[WebhookDeliveryRow]:
    """What was or is to be told to an endpoint, the newest first."""
    get(session, endpoint_id, project_id=project_id)
    conditions = [WebhookDeliveryRow.endpoint_id == endpoint_id]
    if status is not None:
        conditions.append(WebhookDeliveryRow.status == status)
    return keyset.page(session, WebhookDeliveryRow, WebhookDeliveryRow.id, place, *conditions)


def delivery(
    session: Session, endpoint_id: str, delivery_id: str, *, project_id: str
) -> tuple[WebhookDeliveryRow, Sequence[WebhookAttemptRow]]:
    """A message with its attempts, in their order.

    Raises:
        NotFound: there is no such endpoint, or nothing like it was told to it.
    """
    get(session, endpoint_id, project_id=project_id)
    row = session.get(WebhookDeliveryRow, delivery_id)
    if row is None or row.endpoint_id != endpoint_id:
        raise NotFound(f"There is no delivery {delivery_id!r} to {endpoint_id}.")
    query = select(WebhookAttemptRow).where(WebhookAttemptRow.delivery_id == delivery_id)
    return row, session.scalars(query.order_by(WebhookAttemptRow.number)).all()


def redeliver(session: Session, endpoint_id: str, delivery_id: str, *, project_id: str) -> WebhookDeliveryRow:
    """Send the same message again, at once, and try as often as if it were new.

    Raises:
        StateConflict: the endpoint is disabled.
    """
    _enabled(get(session, endpoint_id, project_id=project_id, lock=True))
    row, _ = delivery(session, endpoint_id, delivery_id, project_id=project_id)
    session.refresh(row, with_for_update=True)
    row.status, row.step, row.ended_at = "pending", 0, None
    row.due_at = func.now()
    session.flush()
    session.refresh(row)
    return row


def _enabled(row: WebhookEndpointRow) -> WebhookEndpointRow:
    if row.disabled_at is not None:
        raise StateConflict(f"Webhook endpoint {row.id} is disabled ({row.disabled_reason}).", allowed=("enable",))
    return row
