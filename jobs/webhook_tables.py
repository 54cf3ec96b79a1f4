"""The rows of webhooks: who wants to hear, what is to be told, and how each attempt to tell it went."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from jobs.tables import Table


class WebhookEndpointRow(Table):
    """An address that is told what happens to jobs."""

    __tablename__ = "webhook_endpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))  # of this alone
    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(JSONB)  # patterns of event types
    description: Mapped[str | None]

    secret: Mapped[str]  # sealed, see jobs.sealing
    old_secret: Mapped[str | None]  # signs as well, until the receiver has the new one
    old_secret_until: Mapped[datetime | None]

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]

    __table_args__ = (
        Index("webhook_endpoints_project_id_created_at_id", "project_id", "created_at", "id"),
        Index("webhook_endpoints_job_id", "job_id"),
    )


class WebhookDeliveryRow(Table):
    """One message for one endpoint; its id and its body are the same in every attempt."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    job_id: Mapped[str | None]  # no reference: the log may outlive the job
    type: Mapped[str]
    body: Mapped[str]  # text, as the signature is of its very bytes
    status: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    step: Mapped[int] = mapped_column(server_default="0")  # place in the schedule; a redelivery begins anew
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("status IN ('delivered', 'failed', 'pending')", name="status"),
        CheckConstraint("(status = 'pending') = (due_at IS NOT NULL)", name="due"),
        Index("webhook_deliveries_due", "due_at", postgresql_where=text("status = 'pending'")),
        Index("webhook_deliveries_endpoint", "endpoint_id", "created_at", "id"),
        Index("webhook_deliveries_ended_at", "ended_at"),
    )


class WebhookAttemptRow(Table):
    """What came of one attempt to deliver."""

    __tablename__ = "webhook_attempts"

    delivery_id: Mapped[str] = mapped_column(ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    status_code: Mapped[int | None]
    seconds: Mapped[float]
    error: Mapped[str | None]
    response: Mapped[str]  # the first of what was answered
