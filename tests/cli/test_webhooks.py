"""`prunery webhooks` against the real API, the real sender and a real receiver."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from tests.cli.conftest import Service, prunery
from tests.receiver import Receiver

OPEN = {
    "PRUNERY_WEBHOOK_HTTP": "true",
    "PRUNERY_WEBHOOK_PORTS": "[]",
    "PRUNERY_WEBHOOK_NETWORKS": '["127.0.0.0/8"]',
    "PRUNERY_WEBHOOK_SECONDS": "0.2",
}


@pytest.fixture(autouse=True)
def _to_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OPEN.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def sender(service: Service) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-m", "worker.webhooks"], env=os.environ) as process:
        yield
        process.kill()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path / "receiver") as running:
        yield running


@pytest.mark.usefixtures("sender")
def test_an_endpoint_is_made_tried_used_and_removed(service: Service, receiver: Receiver) -> None:
    made = prunery("webhooks", "create", receiver.url, "--event", "*.succeeded", "--description", "a")
    assert made.returncode == 0, made.stderr
    endpoint, secret = made.stdout.split()
    shown = prunery("webhooks", "list").stdout
    assert endpoint in shown
    assert secret not in shown
    tested = prunery("webhooks", "test", endpoint)
    assert tested.returncode == 0, tested.stderr
    assert "answered 204" in tested.stderr

    job = service.published({"a.txt": b"a"})
    _, told = receiver.wait_for(2)
    assert Webhook(secret).verify(told["body"], told["headers"])["data"]["id"] == job
    message = told["headers"]["webhook-id"]
    assert message in prunery("webhooks", "deliveries", endpoint, "--status", "delivered").stdout

    receiver.answer(503)
    again = prunery("webhooks", "redeliver", endpoint, message)
    assert again.returncode == 1
    assert "answered 503" in again.stderr
    found = json.loads(prunery("webhooks", "deliveries", endpoint, "--json").stdout)
    assert {each["id"]: (each["status"], each["attempts"]) for each in found}[message] == ("pending", 2)

    rotated = prunery("webhooks", "rotate-secret", endpoint, "--overlap", "60").stdout.strip()
    assert rotated.startswith("whsec_")
    assert rotated != secret
    assert prunery("webhooks", "disable", endpoint).returncode == 0
    assert "disabled" in prunery("webhooks", "list").stdout
    refused = prunery("webhooks", "test", endpoint)
    assert refused.returncode == 2
    assert "is disabled" in refused.stderr
    assert prunery("webhooks", "enable", endpoint).returncode == 0
    assert prunery("webhooks", "delete", endpoint).returncode == 0
    assert "There are no webhook endpoints" in prunery("webhooks", "list").stderr
    assert prunery("webhooks", "deliveries", endpoint).returncode == 2


def test_what_is_wrong_is_said_with_the_field(service: Service) -> None:
    refused = prunery("webhooks", "create", "https://169.254.169.254/", "--event", "job.*")
    assert refused.returncode == 2
    assert "/events/0" in refused.stderr
    refused = prunery("webhooks", "create", "https://169.254.169.254/")
    assert refused.returncode == 2
    assert "/url" in refused.stderr
    assert "not an address of the public internet" in refused.stderr
