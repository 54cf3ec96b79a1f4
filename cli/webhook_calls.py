"""What a client asks of the service about webhooks."""

import time
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from cli.client import Client
from cli.resources import WebhookDelivery, WebhookEndpoint

ENDPOINTS = "/v1/webhook_endpoints"
# The service tries again by itself later; nobody waits for that here.
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.5


class WebhookCalls:
    """The part of the API below `/v1/webhook_endpoints`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, url: str, *, events: Sequence[str], description: str | None) -> WebhookEndpoint:
        """The answer has the secret, this once."""
        body = {"url": url, "events": list(events), "description": description}
        return self._client.call(WebhookEndpoint, "POST", ENDPOINTS, json=body)

    def endpoints(self) -> Iterator[WebhookEndpoint]:
        """All of them, the newest first."""
        return self._client.pages(WebhookEndpoint, ENDPOINTS)

    def switch(self, endpoint_id: str, *, on: bool) -> WebhookEndpoint:
        return self._client.call(WebhookEndpoint, "PATCH", _endpoint(endpoint_id), json={"disabled": not on})

    def delete(self, endpoint_id: str) -> None:
        self._client.delete(_endpoint(endpoint_id))

    def rotate_secret(self, endpoint_id: str, overlap_seconds: int) -> WebhookEndpoint:
        body = {"overlap_seconds": overlap_seconds}
        return self._client.call(WebhookEndpoint, "POST", f"{_endpoint(endpoint_id)}/rotate_secret", json=body)

    def test(self, endpoint_id: str) -> WebhookDelivery:
        return self._client.call(WebhookDelivery, "POST", f"{_endpoint(endpoint_id)}/test")

    def deliveries(self, endpoint_id: str, *, status: str | None) -> Iterator[WebhookDelivery]:
        """What was or is to be sent, the newest first."""
        filters = {"status": status} if status else {}
        return self._client.pages(WebhookDelivery, f"{_endpoint(endpoint_id)}/deliveries", filters)

    def delivery(self, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
        """A message with the log of its attempts."""
        return self._client.call(WebhookDelivery, "GET", _delivery(endpoint_id, delivery_id))

    def redeliver(self, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
        return self._client.call(WebhookDelivery, "POST", f"{_delivery(endpoint_id, delivery_id)}/redeliver")

    def attempted(self, endpoint_id: str, delivery_id: str, attempts: int) -> WebhookDelivery:
        """A message once there were more than so many attempts, or as it stands when that takes too long."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            delivery = self.delivery(endpoint_id, delivery_id)
            if len(delivery.log) > attempts or time.monotonic() > give_up:
                return delivery
            time.sleep(POLL_SECONDS)


def _endpoint(endpoint_id: str) -> str:
    return f"{ENDPOINTS}/{quote(endpoint_id, safe='')}"


def _delivery(endpoint_id: str, delivery_id: str) -> str:
    return f"{_endpoint(endpoint_id)}/deliveries/{quote(delivery_id, safe='')}"
