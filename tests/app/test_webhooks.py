"""Webhooks as clients ask for them."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from jobs.webhook_tables import WebhookDeliveryRow, WebhookEndpointRow
from tests.app.conftest import job, write_model

JOBS = "/v1/compression/jobs"
SECRET = f"whsec_{base64.b64encode(b'0123456789' * 3).decode()}"

Sessions = sessionmaker[Session]


@pytest.fixture
def sound(client: TestClient, roots: Path) -> dict[str, Any]:
    """A request for a job on a model and a text that are there."""
    write_model(roots / "llama")
    uploaded = client.post("/v1/files", params={"name": "train.txt"}, content=b"some text " * 100)
    return job({"source": "local", "path": str(roots / "llama")}, {"source": "file", "id": uploaded.json()["id"]})


def test_a_job_can_name_whom_to_tell_of_itself_and_shows_it_to_nobody(
    client: TestClient, sound: dict[str, Any], sessions: Sessions
) -> None:
    webhook = {"url": "https://example.com/hook", "events": ["*.queued", "*.cancelled"], "secret": SECRET}
    made = client.post(JOBS, json={**sound, "webhook": webhook})
    assert made.status_code == 202, made.text
    other = client.post(JOBS, json=sound)
    for id in (made.json()["id"], other.json()["id"]):
        client.post(f"{JOBS}/{id}/cancel")
    assert "webhook" not in client.get(f"{JOBS}/{made.json()['id']}").json()["config"]
    with sessions() as session:
        (endpoint,) = session.scalars(select(WebhookEndpointRow))
        told = list(session.scalars(select(WebhookDeliveryRow).order_by(WebhookDeliveryRow.id)))
    assert (endpoint.job_id, endpoint.url, endpoint.secret) == (made.json()["id"], webhook["url"], SECRET)
    assert [row.type for row in told] == ["compression.job.queued", "compression.job.cancelled"]
    assert {json.loads(row.body)["data"]["id"] for row in told} == {made.json()["id"]}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"url": "http://example.com/"}, "/webhook/url"),
        ({"url": "https://10.0.0.1/"}, "/webhook/url"),
        ({"url": "https://me@example.com/"}, "/webhook/url"),
        ({"events": []}, "/webhook/events"),
        ({"events": ["job.*"]}, "/webhook/events/0"),
        ({"events": ["*", "Compression.job.queued"]}, "/webhook/events/1"),
        ({"secret": "password"}, "/webhook/secret"),
        ({"secret": f"whsec_{base64.b64encode(b'short').decode()}"}, "/webhook/secret"),
        ({"secret": None}, "/webhook/secret"),
        ({"colour": "red"}, "/webhook/colour"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused_where_it_is_wrong(
    change: dict[str, Any],
    pointer: str,
    client: TestClient,
    sound: dict[str, Any],
    stored: Callable[[], tuple[int, ...]],
) -> None:
    before = stored()
    webhook = {"url": "https://example.com/", "secret": SECRET, **change}
    answer = client.post(JOBS, json={**sound, "webhook": webhook})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert "whsec" not in answer.text.replace("must be whsec_", "")
    assert stored() == before
