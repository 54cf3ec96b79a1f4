"""The messages of webhooks as the sender takes and settles them. Never commits."""

import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from jobs import meters, webhooks
from jobs.tables import JobRow
from jobs.webhook_tables import WebhookAttemptRow, WebhookDeliveryRow, WebhookEndpointRow

# Seconds from one attempt to the next; about three days in all.
PAUSES = (5, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24)))
JITTER = 0.1
LONGEST_PAUSE = 24 * 3600
# Longer than any attempt takes: then whoever took the message is gone, and another one sends it again.
TAKEN_SECONDS = 180
PATIENCE = timedelta(days=5)
GONE = 410


@dataclass(frozen=True)
class Message:
    """One attempt to tell one endpoint."""

    id: str
    endpoint_id: str
    attempt: int
    type: str
    job_id: str | None
    traceparent: str | None
    body: str
    url: str
    secrets: tuple[str, ...]  # sealed


@dataclass(frozen=True)
class Answer:
    """What came of an attempt: a status if the receiver answered, an error if not."""

    status: int | None
    seconds: float
    error: str | None = None
    body: str = ""
    retry_after: float | None = None

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def outcome(self) -> str:
        if self.status is None:
            return "unreachable"
        return "delivered" if self.ok else "refused"


def take(session: Session, busy: Collection[str]) -> Message | None:
    """The next message that is due, but for endpoints that are `busy`; nobody else gets it for TAKEN_SECONDS."""
    query = (
        select(WebhookDeliveryRow, WebhookEndpointRow, JobRow.traceparent, func.now())
        .join(WebhookEndpointRow, WebhookEndpointRow.id == WebhookDeliveryRow.endpoint_id)
        .outerjoin(JobRow, JobRow.id == WebhookDeliveryRow.job_id)
        .where(
            WebhookDeliveryRow.status == "pending",
            WebhookDeliveryRow.due_at <= func.now(),
            WebhookDeliveryRow.endpoint_id.not_in(busy),
        )
        .order_by(WebhookDeliveryRow.due_at)
        .limit(1)
        .with_for_update(skip_locked=True, of=WebhookDeliveryRow)
    )
    found = session.execute(query).one_or_none()
    if found is None:
        return None
    row, endpoint, traceparent, now = found
    row.attempts += 1
    row.due_at = now + timedelta(seconds=TAKEN_SECONDS)
    return Message(
        id=row.id,
        endpoint_id=endpoint.id,
        attempt=row.attempts,
        type=row.type,
        job_id=row.job_id,
        traceparent=traceparent,
        body=row.body,
        url=endpoint.url,
        secrets=_secrets(endpoint, now),
    )


def settle(session: Session, message: Message, answer: Answer) -> None:
    """Write down an attempt, and what follows from it for the message and its endpoint."""
    # The endpoint first, as everyone does who locks both.
    endpoint = session.get(WebhookEndpointRow, message.endpoint_id, with_for_update={"key_share": True})
    row = session.get(WebhookDeliveryRow, message.id, with_for_update=True)
    if endpoint is None or row is None:
        return
    session.add(
        WebhookAttemptRow(
            delivery_id=row.id,
            number=message.attempt,
            status_code=answer.status,
            seconds=answer.seconds,
            error=answer.error,
            response=answer.body,
        )
    )
    meters.count(session, meters.DELIVERIES, outcome=answer.outcome)
    now = session.scalars(select(func.clock_timestamp())).one()
    if answer.ok:
        endpoint.failing_since = None
        row.status, row.due_at, row.ended_at = "delivered", None, now
        return
    endpoint.failing_since = endpoint.failing_since or now
    if row.status == "pending":
        _postpone(row, answer, now)
    if answer.status == GONE:
        webhooks.disable(session, endpoint.id, "gone")
    elif endpoint.failing_since < now - PATIENCE:
        webhooks.disable(session, endpoint.id, "failing")


def _postpone(row: WebhookDeliveryRow, answer: Answer, now: datetime) -> None:
    if row.step == len(PAUSES):
        row.status, row.due_at, row.ended_at = "failed", None, now
        return
    pause = PAUSES[row.step] * (1 + random.uniform(0, JITTER))
    row.step += 1
    row.due_at = now + timedelta(seconds=min(max(pause, answer.retry_after or 0), LONGEST_PAUSE * (1 + JITTER)))


def _secrets(endpoint: WebhookEndpointRow, now: datetime) -> tuple[str, ...]:
    if endpoint.old_secret is None or endpoint.old_secret_until is None or endpoint.old_secret_until < now:
        return (endpoint.secret,)
    return (endpoint.secret, endpoint.old_secret)
