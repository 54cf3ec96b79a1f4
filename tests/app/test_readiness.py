"""What a load balancer and an operator are told, while real servers are away or hang."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app.main import create_app
from app.readiness import PATIENCE_SECONDS
from jobs import meters
from jobs.settings import Settings
from tests.worker.wire import Wire


class Wires:
    """Between the API and each of its servers."""

    def __init__(self, settings: Settings) -> None:
        urls = {
            "database_url": settings.database_url.get_secret_value(),
            "broker_url": settings.broker_url.get_secret_value(),
            "s3_endpoint": settings.s3_endpoint,
        }
        self.wires: dict[str, Wire] = {}
        changes: dict[str, Any] = {}
        for name, url in urls.items():
            port = urlsplit(url).port
            assert port is not None
            wire = self.wires[name] = Wire(port)
            moved = url.replace(f":{port}", f":{wire.port}")
            changes[name] = moved if name == "s3_endpoint" else SecretStr(moved)
        self.settings = settings.model_copy(update=changes)


@pytest.fixture
def wires(door_settings: Settings) -> Iterator[Wires]:
    wires = Wires(door_settings)
    yield wires
    for wire in wires.wires.values():
        wire.close()


@pytest.fixture
def client(wires: Wires) -> Iterator[TestClient]:
    with TestClient(create_app(wires.settings)) as client:
        yield client


@pytest.fixture
def everybody(sessions: sessionmaker[Session]) -> None:
    """As if all parts were at work."""
    with sessions.begin() as session:
        meters.seen(session, "relay")
        meters.seen(session, "webhooks")
        session.execute(text("INSERT INTO workers (id, host, memory_bytes) VALUES ('w', 'h', 1)"))


def ask(client: TestClient) -> tuple[int, dict[str, Any]]:
    time.sleep(1.0)  # what it said before is remembered for so long
    answer = client.get("/readyz")
    return answer.status_code, answer.json()


@pytest.mark.usefixtures("everybody")
def test_all_is_well(client: TestClient) -> None:
    assert ask(client) == (200, {"status": "ok", "degraded": [], "details": {}})


@pytest.mark.usefixtures("everybody")
@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_without_the_broker_it_is_ready_and_says_what_follows(client: TestClient, wires: Wires, fault: str) -> None:
    getattr(wires.wires["broker_url"], fault)()
    status, body = ask(client)
    assert (status, body["status"], body["degraded"]) == (200, "degraded", ["broker"])
    assert "jobs are accepted" in body["details"]["broker"] or "in time" in body["details"]["broker"]
    wires.wires["broker_url"].mend()
    time.sleep(PATIENCE_SECONDS)
    assert ask(client)[1]["status"] == "ok"


@pytest.mark.parametrize("part", ["database_url", "s3_endpoint"])
@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_without_the_database_or_storage_it_is_not_ready_and_says_so_at_once(
    client: TestClient, wires: Wires, part: str, fault: str
) -> None:
    assert ask(client)[0] == 200
    getattr(wires.wires[part], fault)()
    began = time.monotonic()
    status, body = ask(client)
    assert time.monotonic() - began < 30
    assert (status, body["code"], body["retryable"]) == (503, "storage_error", True)
    assert {"database_url": "database", "s3_endpoint": "storage"}[part] in body["detail"].lower()
    assert client.get("/healthz").status_code == 200
    wires.wires[part].mend()


@pytest.mark.usefixtures("everybody")
@pytest.mark.parametrize(
    ("part", "consequence", "statement"),
    [
        ("relay", "not announced", "UPDATE meters SET value = value - 3600 WHERE labels LIKE '%relay%'"),
        ("webhooks", "nobody is told", "UPDATE meters SET value = value - 3600 WHERE labels LIKE '%webhooks%'"),
        ("workers", "queued jobs wait", "UPDATE workers SET seen_at = now() - interval '1 hour'"),
    ],
)
def test_a_part_that_is_not_at_work_is_missed(
    client: TestClient, sessions: sessionmaker[Session], part: str, consequence: str, statement: str
) -> None:
    with sessions.begin() as session:
        session.execute(text(statement))
    status, body = ask(client)
    assert (status, body["degraded"]) == (200, [part])
    assert "last at work 36" in body["details"][part]
    assert consequence in body["details"][part]


@pytest.mark.usefixtures("everybody")
def test_a_machine_whose_gpu_has_failed_is_named(client: TestClient, sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        session.execute(text("INSERT INTO workers (id, host, memory_bytes, fault) VALUES ('v', 'gpu-7', 1, 'ECC')"))
    status, body = ask(client)
    assert (status, body["degraded"]) == (200, ["accelerators"])
    assert "gpu-7" in body["details"]["accelerators"]


def test_parts_that_were_never_at_work_are_missed_too(client: TestClient) -> None:
    status, body = ask(client)
    assert (status, body["degraded"]) == (200, ["relay", "webhooks", "workers"])
    assert all("never at work" in words for words in body["details"].values())
