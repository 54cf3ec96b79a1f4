"""Webhooks as clients ask for them."""

import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker
from standardwebhooks import Webhook
from starlette.testclient import TestClient

from app import webhooks
from app.main import create_app
from jobs.sealing import Seal
from jobs.settings import Settings
from jobs.webhook_tables import WebhookDeliveryRow, WebhookEndpointRow
from tests.app.conftest import job, write_model
from tests.app.tenants import make_key, make_project
from tests.receiver import Receiver
from worker.webhooks import Sender

JOBS, ENDPOINTS = "/v1/compression/jobs", "/v1/webhook_endpoints"
SECRET = f"whsec_{base64.b64encode(b'0123456789' * 3).decode()}"

Sessions = sessionmaker[Session]


@pytest.fixture
def sound(client: TestClient, roots: Path) -> dict[str, Any]:
    """A request for a job on a model and a text that are there."""
    write_model(roots / "llama")
    uploaded = client.post("/v1/files", params={"name": "train.txt"}, content=b"some text " * 100)
    return job({"source": "local", "path": str(roots / "llama")}, {"source": "file", "id": uploaded.json()["id"]})


def test_a_job_can_name_whom_to_tell_of_itself_and_shows_it_to_nobody(
    client: TestClient, sound: dict[str, Any], sessions: Sessions, settings: Settings
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
    secret = Seal(settings.encryption_keys).opened(endpoint.secret)
    assert (endpoint.job_id, endpoint.url, secret) == (made.json()["id"], webhook["url"], SECRET)
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


def endpoint(client: TestClient, **fields: Any) -> dict[str, Any]:
    answer = client.post(ENDPOINTS, json={"url": "https://example.com/hook", **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_an_endpoint_shows_its_secret_once(client: TestClient) -> None:
    answer = client.post(
        ENDPOINTS, json={"url": "https://example.com/hook", "events": ["*.failed"], "description": "a"}
    )
    made = answer.json()
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Location"] == f"{ENDPOINTS}/{made['id']}"
    secret = made.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert (made["url"], made["events"], made["description"]) == ("https://example.com/hook", ["*.failed"], "a")
    assert (made["job_id"], made["disabled_at"], made["failing_since"]) == (None, None, None)
    assert client.get(answer.headers["Location"]).json() == made
    assert client.get(ENDPOINTS).json()["data"] == [made]
    for shown in (ENDPOINTS, "/v1/audit_log", f"{ENDPOINTS}/{made['id']}"):
        assert secret not in client.get(shown).text
    assert client.delete(answer.headers["Location"]).status_code == 204
    assert client.get(answer.headers["Location"]).status_code == 404


def test_a_secret_is_encrypted_where_there_is_a_key(door_settings: Settings, sessions: Sessions) -> None:
    key = SecretStr(Fernet.generate_key().decode())
    with TestClient(create_app(door_settings.model_copy(update={"encryption_keys": (key,)}))) as client:
        client.headers["Authorization"] = f"Bearer {door_settings.api_key.get_secret_value()}"
        secret = endpoint(client)["secret"]
    with sessions() as session:
        (stored,) = session.scalars(select(WebhookEndpointRow.secret))
    assert secret not in stored
    assert Seal([key]).opened(stored) == secret


def test_a_secret_is_replaced_while_the_old_one_still_signs(
    client: TestClient, sessions: Sessions, settings: Settings
) -> None:
    made = endpoint(client, secret=SECRET)
    assert made["secret"] == SECRET
    place = f"{ENDPOINTS}/{made['id']}"
    rotated = client.post(f"{place}/rotate_secret", json={"overlap_seconds": 60}).json()
    assert rotated["secret"] not in (SECRET, None)
    assert rotated["old_secret_until"] is not None
    assert client.post(f"{place}/rotate_secret").json()["secret"] not in (SECRET, rotated["secret"])
    with sessions() as session:
        row = session.get_one(WebhookEndpointRow, made["id"])
    assert row.old_secret is not None
    assert Seal(settings.encryption_keys).opened(row.old_secret) == rotated["secret"]
    assert client.post(f"{place}/rotate_secret", json={"overlap_seconds": 10**9}).status_code == 422


def test_an_endpoint_is_changed_and_switched_off_and_on(client: TestClient, sound: dict[str, Any]) -> None:
    made = endpoint(client, description="a")
    place = f"{ENDPOINTS}/{made['id']}"
    client.post(JOBS, json=sound)
    changed = client.patch(place, json={"url": "https://example.org/", "events": ["*.failed"], "description": None})
    assert changed.status_code == 200, changed.text
    assert changed.json() == {
        **{name: value for name, value in made.items() if name != "secret"},
        "url": "https://example.org/",
        "events": ["*.failed"],
        "description": None,
    }
    assert client.patch(place, json={"url": "http://example.com/"}).json()["errors"][0]["pointer"] == "/url"
    assert client.patch(place, json={"colour": 1}).status_code == 422
    disabled = client.patch(place, json={"disabled": True}).json()
    assert (disabled["disabled_reason"], disabled["events"]) == ("user_requested", ["*.failed"])
    (waited,) = client.get(f"{place}/deliveries").json()["data"]
    assert (waited["status"], waited["next_attempt_at"], waited["attempts"]) == ("failed", None, 0)
    for verb in ("test", f"deliveries/{waited['id']}/redeliver"):
        refused = client.post(f"{place}/{verb}")
        assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state_transition")
    enabled = client.patch(place, json={"disabled": False}).json()
    assert (enabled["disabled_at"], enabled["disabled_reason"]) == (None, None)
    assert client.post(f"{place}/deliveries/{waited['id']}/redeliver").json()["status"] == "pending"


def test_what_was_sent_is_listed_and_shown_with_every_attempt_and_sent_again(
    client: TestClient, sound: dict[str, Any], door_settings: Settings, tmp_path: Path
) -> None:
    changes = {"webhook_http": True, "webhook_ports": [], "webhook_networks": ["127.0.0.0/8"], "webhook_seconds": 0.2}
    settings = Settings.model_validate({**door_settings.model_dump(), **changes})
    with Receiver(tmp_path / "receiver") as receiver, TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {door_settings.api_key.get_secret_value()}"
        place = f"{ENDPOINTS}/{endpoint(client, url=receiver.url, secret=SECRET)['id']}/deliveries"
        tested = client.post(place.replace("/deliveries", "/test"))
        assert tested.status_code == 202
        job_id = client.post(JOBS, json=sound).json()["id"]
        receiver.answer(200, "thanks")
        deliver(settings, receiver, 2)
        told, test = client.get(place).json()["data"]
        assert (told["type"], told["job_id"], told["status"]) == ("compression.job.queued", job_id, "delivered")
        assert (test["type"], test["id"]) == ("webhook.test", tested.json()["id"])
        assert tested.headers["Location"] == f"{place}/{test['id']}"
        detail = client.get(f"{place}/{told['id']}").json()
        assert (detail["message"]["data"]["id"], detail["message"]["type"]) == (job_id, told["type"])
        (attempt,) = detail["log"]
        assert (attempt["number"], attempt["status_code"], attempt["error"]) == (1, 200, None)
        assert attempt["response"] == "thanks\n"

        again = client.post(f"{place}/{told['id']}/redeliver")
        assert (again.status_code, again.json()["status"]) == (202, "pending")
        deliver(settings, receiver, 3)
        assert [each["number"] for each in client.get(f"{place}/{told['id']}").json()["log"]] == [1, 2]
        assert client.get(place, params={"status": "pending"}).json()["data"] == []
        first = client.get(place, params={"limit": 1})
        assert first.json()["has_more"]
        assert client.get(first.links["next"]["url"]).json()["data"] == [test]
    first_told, *_, told_again = [
        request for request in receiver.heard if told["id"] == request["headers"]["webhook-id"]
    ]
    assert first_told["body"] == told_again["body"]
    Webhook(SECRET).verify(told_again["body"], told_again["headers"])


def test_another_project_sees_and_hears_nothing(client: TestClient, sound: dict[str, Any]) -> None:
    made = endpoint(client)
    other = make_project(client)
    headers = make_key(client, "jobs:read", "jobs:write", project_id=other)
    place = f"{ENDPOINTS}/{made['id']}"
    delivery = client.post(f"{place}/test").json()["id"]
    assert client.get(ENDPOINTS, headers=headers).json()["data"] == []
    for method, path in (
        ("GET", place),
        ("PATCH", place),
        ("DELETE", place),
        ("POST", f"{place}/test"),
        ("POST", f"{place}/rotate_secret"),
        ("GET", f"{place}/deliveries"),
        ("GET", f"{place}/deliveries/{delivery}"),
        ("POST", f"{place}/deliveries/{delivery}/redeliver"),
    ):
        answer = client.request(method, path, headers=headers, json={} if method in ("PATCH", "POST") else None)
        assert answer.status_code == 404, (method, path, answer.text)
    theirs = client.post(ENDPOINTS, headers=headers, json={"url": "https://example.com/"}).json()["id"]
    assert client.get(f"{ENDPOINTS}/{theirs}/deliveries/{delivery}", headers=headers).status_code == 404
    client.post(JOBS, json=sound)
    assert client.get(f"{ENDPOINTS}/{theirs}/deliveries", headers=headers).json()["data"] == []
    assert len(client.get(f"{place}/deliveries").json()["data"]) == 2


def test_a_reading_key_changes_nothing(client: TestClient) -> None:
    place = f"{ENDPOINTS}/{endpoint(client)['id']}"
    headers = make_key(client, "jobs:read")
    assert client.get(place, headers=headers).status_code == 200
    assert client.post(ENDPOINTS, headers=headers, json={"url": "https://example.com/"}).status_code == 403
    assert client.delete(place, headers=headers).status_code == 403
    assert client.post(f"{place}/rotate_secret", headers=headers).status_code == 403


def test_a_project_has_only_so_many_endpoints(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MOST_ENDPOINTS", 2)
    endpoint(client)
    endpoint(client)
    refused = client.post(ENDPOINTS, json={"url": "https://example.com/"})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_endpoints")


def deliver(settings: Settings, receiver: Receiver, count: int) -> None:
    """Send until the receiver has heard so many requests, and all of that is settled."""
    stop = threading.Event()
    thread = threading.Thread(target=Sender(settings).run, args=(stop,))
    thread.start()
    receiver.wait_for(count)
    stop.set()
    thread.join(60)
