"""What Prometheus reads, by its own parsers."""

from collections.abc import Iterator
from threading import Barrier, Thread
from typing import Any

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from pydantic import SecretStr
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app.main import create_app
from jobs import meters
from jobs.meters import MeterRow
from jobs.settings import Settings
from tests.worker.desk import Desk

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(client: TestClient | httpx2.Client, **headers: str) -> Samples:
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    read: Any = read_openmetrics if "openmetrics" in answer.headers["content-type"] else read_text
    families = list(read(answer.text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.fixture
def desk(sessions: sessionmaker[Session]) -> Desk:
    return Desk(sessions)


@pytest.fixture
def metrics_client(door_settings: Settings) -> Iterator[TestClient]:
    settings = door_settings.model_copy(update={"metrics_token": SecretStr("for-prometheus")})
    with TestClient(create_app(settings), headers={"Authorization": "Bearer for-prometheus"}) as client:
        yield client


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_they_tell_of_jobs_and_of_requests_by_their_route(client: TestClient, desk: Desk, accept: str) -> None:
    before = scrape(client, accept=accept)
    assert value(before, "compression_jobs", status="queued") == 0
    assert value(before, "compression_job_lease_expired_total") == 0
    assert value(before, "compression_database_up") == 1
    job_id = desk.submit()
    client.get(f"/v1/compression/jobs/{job_id}")
    client.get("/nowhere/in/particular")
    client.request("BREW", "/v1/compression/jobs")
    after = scrape(client, accept=accept)
    assert value(after, "compression_jobs", status="queued") == 1
    assert value(after, "compression_queue_depth", **{"class": "any"}) == 1
    assert value(after, "compression_outbox_unsent") == 1
    assert 0 < value(after, "compression_queue_oldest_age_seconds") < 60
    requests = {
        (labels["method"], labels["route"], labels["status"])
        for name, found in after
        if name == "compression_http_request_duration_seconds_count" and (labels := dict(found))
    }
    assert {
        ("GET", "/metrics", "200"),
        ("GET", "/v1/compression/jobs/{job_id}", "200"),
        ("GET", "none", "404"),
        ("other", "/v1/compression/jobs", "405"),
    } <= requests
    assert not [labels for _, labels in after if job_id in str(labels)]


def test_only_the_operator_reads_them(client: TestClient, metrics_client: TestClient) -> None:
    key = client.headers["Authorization"]
    assert value(scrape(metrics_client), "compression_database_up") == 1
    assert metrics_client.get("/v1/compression/jobs").status_code == 403
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/metrics", headers={"Authorization": key}).status_code == 200


def test_without_the_database_they_say_so(door_settings: Settings) -> None:
    away = SecretStr("postgresql+psycopg://u:p@127.0.0.1:1/x")
    settings = door_settings.model_copy(update={"metrics_token": SecretStr("for-prometheus"), "database_url": away})
    with TestClient(create_app(settings), headers={"Authorization": "Bearer for-prometheus"}) as client:
        samples = scrape(client)
    assert value(samples, "compression_database_up") == 0
    assert ("compression_outbox_unsent", frozenset()) not in samples


def test_what_is_counted_comes_true_with_its_transaction(client: TestClient, sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        meters.count(session, meters.LEASES_EXPIRED)
        meters.count(session, meters.ATTEMPTS, 2, outcome="failed")
        for seconds in (0.5, 59.0, 1e9):
            meters.observe(session, meters.PHASES, seconds, phase="pruning")
    with sessions() as session:
        session.execute(text("SELECT 1"))
        meters.count(session, meters.LEASES_EXPIRED)
        session.rollback()
        session.commit()
    samples = scrape(client)
    assert value(samples, "compression_job_lease_expired_total") == 1
    assert value(samples, "compression_job_attempts_total", outcome="failed") == 2
    name = "compression_job_duration_seconds"
    counts = [value(samples, f"{name}_bucket", phase="pruning", le=le) for le in ("1.0", "15.0", "60.0", "86400.0")]
    assert counts == [1, 1, 2, 2]
    assert value(samples, f"{name}_count", phase="pruning") == 3
    assert value(samples, f"{name}_sum", phase="pruning") == pytest.approx(1e9 + 59.5)


def test_transactions_that_count_the_same_in_another_order_do_not_wait_for_each_other(
    sessions: sessionmaker[Session],
) -> None:
    start = Barrier(2)

    def work(outcomes: list[str]) -> None:
        start.wait()
        for _ in range(50):
            with sessions.begin() as session:
                for outcome in outcomes:
                    meters.count(session, meters.ATTEMPTS, outcome=outcome)

    threads = [Thread(target=work, args=(outcomes,)) for outcomes in (["a", "b", "c"], ["c", "b", "a"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sessions() as session:
        assert list(session.scalars(select(MeterRow.value))) == [100, 100, 100]


def test_a_part_that_is_at_work_is_seen(client: TestClient, sessions: sessionmaker[Session]) -> None:
    for _ in range(2):
        with sessions.begin() as session:
            meters.seen(session, "relay")
    assert value(scrape(client), "compression_part_seen_timestamp_seconds", part="relay") > 1.7e9
