"""Webhook endpoints and their deliveries, as a client sends and reads them."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.keyset import ListPage, Page
from jobs.sources import Spec
from jobs.webhook_events import Patterns, Secret, Url
from jobs.webhook_tables import WebhookAttemptRow, WebhookDeliveryRow, WebhookEndpointRow

DAY = 24 * 3600

DeliveryStatus = Literal["pending", "delivered", "failed"]
Description = Field(None, max_length=500, pattern=r"^[^\x00]*$", description="What it is for.")


class NewWebhookEndpoint(Spec):
    """Who wants to be told of what."""

    url: Url
    events: Patterns = Field(("*",), description="Types of events, with `*` for anything.")
    description: str | None = Description
    secret: Secret | None = Field(None, description="One of your own; if not given, one is made for you.")


class WebhookEndpointChange(Spec):
    """What is to change; what is not given stays."""

    url: Url | None = None
    events: Patterns | None = None
    description: str | None = Description
    disabled: bool | None = Field(
        None, description="True: nothing is sent any more, and what waits has failed. False: it is sent to again."
    )


class SecretRotation(Spec):
    """How a secret is replaced."""

    overlap_seconds: int = Field(
        DAY, ge=0, le=7 * DAY, description="For so long messages carry the signatures of both secrets."
    )
    secret: Secret | None = Field(None, description="One of your own; if not given, one is made for you.")


class WebhookEndpoint(BaseModel):
    """An address that is told what happens to jobs."""

    model_config = ConfigDict(from_attributes=True)

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    id: str
    url: str
    events: list[str]
    description: str | None
    job_id: str | None = Field(description="It is told of this job alone; null: of all of the project.")
    created_at: datetime
    failing_since: datetime | None = Field(description="Every attempt since then has failed.")
    disabled_at: datetime | None
    disabled_reason: str | None = Field(
        description="`user_requested`; `gone`: it answered 410; `failing`: for five days nothing got through."
    )
    old_secret_until: datetime | None = Field(description="Until then the secret before this one signs as well.")

    @classmethod
    def of(cls, row: WebhookEndpointRow) -> Self:
        return cls.model_validate(row)


class CreatedWebhookEndpoint(WebhookEndpoint):
    """An endpoint with its secret, which is shown this once."""

    secret: str = Field(description="Check the signatures with it. Nobody can show it again.")

    @classmethod
    def with_secret(cls, row: WebhookEndpointRow, secret: str) -> Self:
        return cls(**WebhookEndpoint.of(row).model_dump(), secret=secret)


class WebhookEndpointList(ListPage[WebhookEndpoint]):
    """A page of endpoints, the newest first."""

    @classmethod
    def of(cls, page: Page[WebhookEndpointRow]) -> Self:
        data = [WebhookEndpoint.of(row) for row in page.items]
        return cls.holding(data, has_more=page.has_more)


class WebhookDelivery(BaseModel):
    """A message for an endpoint."""

    object: Literal["webhook_delivery"] = "webhook_delivery"
    id: str = Field(description="The receiver has it as `webhook-id`, the same in every attempt.")
    endpoint_id: str
    type: str
    job_id: str | None
    status: DeliveryStatus
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, row: WebhookDeliveryRow, **more: Any) -> Self:
        same = ("id", "endpoint_id", "type", "job_id", "status", "attempts", "created_at", "ended_at")
        return cls(**{name: getattr(row, name) for name in same}, next_attempt_at=row.due_at, **more)


class WebhookAttempt(BaseModel):
    """What came of one attempt."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    at: datetime = Field(description="When it was over.")
    status_code: int | None
    seconds: float
    error: str | None = Field(description="Why there was no answer.")
    response: str = Field(description="The first KiB of the answer.")


class WebhookDeliveryDetail(WebhookDelivery):
    """A message with all that is known of it."""

    message: dict[str, Any] = Field(description="The body that was or is to be sent.")
    log: list[WebhookAttempt]

    @classmethod
    def with_log(cls, row: WebhookDeliveryRow, log: Sequence[WebhookAttemptRow]) -> Self:
        return cls.of(row, message=json.loads(row.body), log=[WebhookAttempt.model_validate(each) for each in log])


class WebhookDeliveryList(ListPage[WebhookDelivery]):
    """A page of messages, the newest first."""

    @classmethod
    def of(cls, page: Page[WebhookDeliveryRow]) -> Self:
        data = [WebhookDelivery.of(row) for row in page.items]
        return cls.holding(data, has_more=page.has_more)
