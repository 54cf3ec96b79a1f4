"""The doctor on a deployment that is well, and on others that are really broken."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import func, text, update
from sqlalchemy.orm import Session, sessionmaker

from jobs import meters
from jobs.settings import Settings
from jobs.tables import DEFAULT_PROJECT, OutboxRow, WorkerRow
from jobs.webhook_tables import WebhookDeliveryRow, WebhookEndpointRow
from tests.worker.desk import Desk
from tests.worker.wire import Wire
from worker import checks
from worker.checks import Check

COMMAND = [sys.executable, "-m", "worker.doctor"]


@pytest.fixture
def everybody(sessions: sessionmaker[Session]) -> None:
    """As if all processes were at work."""
    with sessions.begin() as session:
        for part in ("relay", "webhooks"):
            meters.seen(session, part)
        session.add(WorkerRow(id="w:1", host="gpu-1", gpu_class="a100", memory_bytes=40 * 2**30))


@pytest.fixture
def wire(settings: Settings) -> Iterator[Wire]:
    """A cut way to the broker."""
    wire = Wire(urlsplit(settings.broker_url.get_secret_value()).port or 0)
    wire.cut()
    yield wire
    wire.close()


def failed(check: Check, settings: Settings, state: str = "failed") -> dict[str, str]:
    """What a check says of the parts that are in this state."""
    findings = list(check(settings))
    assert all(finding.advice for finding in findings if finding.state != "ok")
    return {finding.part: finding.says for finding in findings if finding.state == state}


def elsewhere(url: SecretStr, port: int) -> SecretStr:
    text = url.get_secret_value()
    return SecretStr(text.replace(f":{urlsplit(text).port}", f":{port}"))


@pytest.mark.usefixtures("everybody")
def test_all_is_well(environment: dict[str, str], settings: Settings) -> None:
    done = subprocess.run([*COMMAND, "--json"], env=os.environ | environment, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert [finding for finding in found if finding["state"] == "failed"] == []
    assert done.returncode == 0
    well = {finding["part"] for finding in found if finding["state"] == "ok"}
    assert well >= {"settings", "database", "schema", "broker", "object storage", "download links", "relay", "webhooks"}
    (worker,) = [finding["says"] for finding in found if finding["part"] == "workers"]
    assert "gpu-1" in worker
    assert "a100" in worker
    assert "40.0 GiB" in worker


def test_settings_that_are_missing_are_named_and_end_it(environment: dict[str, str]) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PRUNERY_")}
    given = {**environment, "PRUNERY_LEASE_SECONDS": "soon"}
    del given["PRUNERY_S3_ENDPOINT"]
    done = subprocess.run(COMMAND, env=variables | given, capture_output=True, text=True)
    assert done.returncode == 1
    assert "FAILED   settings: S3_ENDPOINT" in done.stdout.replace("PRUNERY_", "")
    assert "LEASE_SECONDS" in done.stdout
    assert environment["PRUNERY_S3_SECRET_KEY"] not in done.stdout
    assert len(done.stdout.splitlines()) == 4


def test_a_database_that_is_away_or_refuses_us(settings: Settings, wire: Wire) -> None:
    away = settings.model_copy(update={"database_url": elsewhere(settings.database_url, wire.port)})
    assert set(failed(checks.reach_database, away)) == {"database"}
    assert set(failed(checks.find_processes, away)) == {"processes"}
    password = urlsplit(settings.database_url.get_secret_value()).password or ""
    wrong = SecretStr(settings.database_url.get_secret_value().replace(password, "wrong"))
    says = failed(checks.reach_database, settings.model_copy(update={"database_url": wrong}))["database"]
    assert "password authentication failed" in says
    assert password not in says


def test_a_schema_that_is_not_the_newest(settings: Settings, sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert "it is at 0001" in failed(checks.reach_database, settings)["schema"]
    with sessions.begin() as session:
        session.execute(text("DROP TABLE alembic_version"))
    assert "it is at nothing" in failed(checks.reach_database, settings)["schema"]


def test_a_broker_that_is_away_or_forgets(settings: Settings, wire: Wire) -> None:
    away = settings.model_copy(update={"broker_url": elsewhere(settings.broker_url, wire.port)})
    assert set(failed(checks.reach_broker, away)) == {"broker"}
    assert failed(checks.reach_broker, settings) == {}
    with Redis.from_url(settings.broker_url.get_secret_value()) as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        redis.config_set("appendonly", "no")
        try:
            assert "allkeys-lru" in failed(checks.reach_broker, settings)["broker memory"]
            assert set(failed(checks.reach_broker, settings, "warning")) == {"broker persistence"}
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
            redis.config_set("appendonly", "yes")


def test_a_storage_that_refuses_us_or_whose_links_lead_nowhere(settings: Settings, wire: Wire) -> None:
    wrong = settings.model_copy(update={"s3_secret_key": SecretStr("wrong")})
    assert set(failed(checks.use_storage, wrong)) == {"object storage"}
    nowhere = settings.model_copy(update={"s3_public_endpoint": f"http://127.0.0.1:{wire.port}"})
    assert set(failed(checks.use_storage, nowhere)) == {"download links"}
    no_bucket = settings.model_copy(update={"s3_bucket": "nobody-made-this"})
    assert set(failed(checks.use_storage, no_bucket)) == {"object storage"}


def test_it_leaves_nothing_in_the_storage(settings: Settings, bucket: "object") -> None:
    assert failed(checks.use_storage, settings) == {}
    assert list(bucket.objects.all()) == []  # type: ignore[attr-defined]


def test_processes_that_are_not_at_work(settings: Settings, sessions: sessionmaker[Session]) -> None:
    assert set(failed(checks.find_processes, settings)) == {"relay", "webhooks", "workers"}
    with sessions.begin() as session:
        meters.seen(session, "relay")
        session.execute(text("UPDATE meters SET value = value - 3600"))
        long_ago = func.now() - timedelta(hours=1)
        session.add(WorkerRow(id="w:1", host="gpu-1", gpu_class=None, memory_bytes=1, seen_at=long_ago))
    found = failed(checks.find_processes, settings)
    assert "36" in found["relay"]
    assert "never" in found["webhooks"]
    assert "none was seen" in found["workers"]


@pytest.mark.usefixtures("everybody")
def test_what_waits_too_long(settings: Settings, desk: Desk) -> None:
    desk.submit()
    assert failed(checks.find_processes, settings) == {}
    long_ago = func.now() - timedelta(hours=1)
    with desk.sessions.begin() as session:
        session.execute(update(OutboxRow).values(created_at=long_ago))
        session.add(WebhookEndpointRow(id="we_1", project_id=DEFAULT_PROJECT, url="", events=[], secret=""))
        session.flush()
        session.add(WebhookDeliveryRow(id="msg_1", endpoint_id="we_1", type="a", body="", due_at=long_ago))
    assert set(failed(checks.find_processes, settings)) == {"outbox"}
    assert set(failed(checks.find_processes, settings, "warning")) == {"webhook messages"}


def test_a_work_folder_that_cannot_be_written(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"work_dir": Path("/proc/prunery")})
    assert set(failed(checks.look_at_disk, nowhere)) == {"work folder"}


def test_secrets_that_lie_open_in_production(settings: Settings) -> None:
    assert failed(checks.look_at_secrets, settings, "warning") == {}
    production = settings.model_copy(update={"environment": "production", "encryption_keys": ()})
    assert set(failed(checks.look_at_secrets, production, "warning")) == {"encryption"}
