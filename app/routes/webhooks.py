"""Webhooks by Standard Webhooks 1.0: endpoints, their secrets, and the log of what was sent."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from app import problems, webhooks
from app.audit import AuditDep
from app.callers import JobReader, JobWriter
from app.deps import DoorDep
from app.keyset import PlaceDep
from app.pointers import at
from app.webhook_schemas import (
    CreatedWebhookEndpoint,
    DeliveryStatus,
    NewWebhookEndpoint,
    SecretRotation,
    WebhookDelivery,
    WebhookDeliveryDetail,
    WebhookDeliveryList,
    WebhookEndpoint,
    WebhookEndpointChange,
    WebhookEndpointList,
)
from jobs.webhook_tables import WebhookEndpointRow

ENDPOINTS = "/v1/webhook_endpoints"

router = APIRouter(prefix=ENDPOINTS, tags=["webhooks"])


@router.post("", status_code=201, responses=problems.responses(400, 403, 409, 413, 422))
def create_webhook_endpoint(
    wanted: NewWebhookEndpoint, door: DoorDep, caller: JobWriter, audit: AuditDep, response: Response
) -> CreatedWebhookEndpoint:
    """Have an address told what happens to the project's jobs. The answer shows the secret, this once."""
    with at("/url"):
        door.egress.target(wanted.url)
    secret = webhooks.new_secret() if wanted.secret is None else wanted.secret.get_secret_value()
    with door.sessions.begin() as session:
        row = webhooks.create(
            session,
            project_id=caller.project_id,
            url=wanted.url,
            events=wanted.events,
            description=wanted.description,
            secret=secret,
            seal=door.seal,
        )
        audit.record(session, "webhook_endpoint.create", row.id, url=row.url)
    return _shown_once(row, secret, response)


@router.get("", responses=problems.responses(400, 403, 422))
def list_webhook_endpoints(
    door: DoorDep,
    caller: JobReader,
    place: PlaceDep,
    response: Response,
    job_id: Annotated[str | None, Query(description="Only those that are told of this job alone.")] = None,
) -> WebhookEndpointList:
    """All endpoints of the project, the newest first."""
    with door.sessions() as session:
        page = WebhookEndpointList.of(webhooks.page(session, place, project_id=caller.project_id, job_id=job_id))
    if page.has_more and page.last_id:
        place.link(response, ENDPOINTS, page.last_id, job_id=job_id)
    return page


@router.get("/{endpoint_id}", responses=problems.responses(403, 404, 422))
def get_webhook_endpoint(endpoint_id: str, door: DoorDep, caller: JobReader) -> WebhookEndpoint:
    """An endpoint, without its secret."""
    with door.sessions() as session:
        return WebhookEndpoint.of(webhooks.get(session, endpoint_id, project_id=caller.project_id))


@router.patch("/{endpoint_id}", responses=problems.responses(400, 403, 404, 413, 422))
def change_webhook_endpoint(
    endpoint_id: str, wanted: WebhookEndpointChange, door: DoorDep, caller: JobWriter, audit: AuditDep
) -> WebhookEndpoint:
    """Change an endpoint, or switch it off or on."""
    values = {name: getattr(wanted, name) for name in wanted.model_fields_set & {"url", "events", "description"}}
    values = {name: value for name, value in values.items() if value is not None or name == "description"}
    if wanted.url is not None:
        with at("/url"):
            door.egress.target(wanted.url)
    if wanted.events is not None:
        values["events"] = list(wanted.events)
    with door.sessions.begin() as session:
        row = webhooks.change(session, endpoint_id, project_id=caller.project_id, disabled=wanted.disabled, **values)
        audit.record(session, "webhook_endpoint.change", row.id, **wanted.model_dump(mode="json", exclude_unset=True))
    return WebhookEndpoint.of(row)


@router.delete("/{endpoint_id}", status_code=204, responses=problems.responses(403, 404, 422))
def delete_webhook_endpoint(endpoint_id: str, door: DoorDep, caller: JobWriter, audit: AuditDep) -> None:
    """Remove an endpoint with the log of what was sent to it."""
    with door.sessions.begin() as session:
        webhooks.remove(session, endpoint_id, project_id=caller.project_id)
        audit.record(session, "webhook_endpoint.delete", endpoint_id)


@router.post("/{endpoint_id}/rotate_secret", responses=problems.responses(400, 403, 404, 413, 422))
def rotate_webhook_secret(
    endpoint_id: str,
    door: DoorDep,
    caller: JobWriter,
    audit: AuditDep,
    response: Response,
    rotation: Annotated[SecretRotation, Body()] = SecretRotation(),  # noqa: B008  (frozen)
) -> CreatedWebhookEndpoint:
    """Replace the secret; for a while both sign. The answer shows the new one, this once."""
    secret = webhooks.new_secret() if rotation.secret is None else rotation.secret.get_secret_value()
    with door.sessions.begin() as session:
        row = webhooks.rotate_secret(
            session,
            endpoint_id,
            project_id=caller.project_id,
            secret=secret,
            overlap=timedelta(seconds=rotation.overlap_seconds),
            seal=door.seal,
        )
        audit.record(session, "webhook_endpoint.rotate_secret", row.id, overlap_seconds=rotation.overlap_seconds)
    return _shown_once(row, secret, response)


@router.post("/{endpoint_id}/test", status_code=202, responses=problems.responses(403, 404, 409, 422))
def test_webhook_endpoint(endpoint_id: str, door: DoorDep, caller: JobWriter, response: Response) -> WebhookDelivery:
    """Send a message of the type `webhook.test`; the delivery in the answer tells what comes of it."""
    with door.sessions.begin() as session:
        row = webhooks.send_test(session, endpoint_id, project_id=caller.project_id)
    response.headers["Location"] = f"{ENDPOINTS}/{endpoint_id}/deliveries/{row.id}"
    return WebhookDelivery.of(row)


@router.get("/{endpoint_id}/deliveries", responses=problems.responses(400, 403, 404, 422))
def list_webhook_deliveries(
    endpoint_id: str,
    door: DoorDep,
    caller: JobReader,
    place: PlaceDep,
    response: Response,
    status: Annotated[DeliveryStatus | None, Query(description="Only messages that stand so.")] = None,
) -> WebhookDeliveryList:
    """What was or is to be sent to an endpoint, the newest first."""
    with door.sessions() as session:
        page = WebhookDeliveryList.of(
            webhooks.deliveries(session, endpoint_id, place, project_id=caller.project_id, status=status)
        )
    if page.has_more and page.last_id:
        place.link(response, f"{ENDPOINTS}/{endpoint_id}/deliveries", page.last_id, status=status)
    return page


@router.get("/{endpoint_id}/deliveries/{delivery_id}", responses=problems.responses(403, 404, 422))
def get_webhook_delivery(endpoint_id: str, delivery_id: str, door: DoorDep, caller: JobReader) -> WebhookDeliveryDetail:
    """A message, and what came of each attempt to deliver it."""
    with door.sessions() as session:
        row, log = webhooks.delivery(session, endpoint_id, delivery_id, project_id=caller.project_id)
        return WebhookDeliveryDetail.with_log(row, log)


@router.post(
    "/{endpoint_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    responses=problems.responses(403, 404, 409, 422),
)
def redeliver_webhook(endpoint_id: str, delivery_id: str, door: DoorDep, caller: JobWriter) -> WebhookDelivery:
    """Send a message again, at once, with the same id."""
    with door.sessions.begin() as session:
        row = webhooks.redeliver(session, endpoint_id, delivery_id, project_id=caller.project_id)
    return WebhookDelivery.of(row)


def _shown_once(row: WebhookEndpointRow, secret: str, response: Response) -> CreatedWebhookEndpoint:
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"{ENDPOINTS}/{row.id}"
    return CreatedWebhookEndpoint.with_secret(row, secret)
