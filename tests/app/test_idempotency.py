"""Requests that are sent more than once, by real clients to a real process, and by one that is killed in between."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app import keys
from app.callers import Scope
from app.main import create_app
from jobs.settings import Settings
from jobs.tables import DEFAULT_PROJECT, IdempotencyRow, JobRow, ProjectRow
from tests.app.conftest import job, write_model
from tests.cli.conftest import Service, prunery
from worker import replays

JOBS = "/v1/compression/jobs"
KEY = {"Idempotency-Key": "one"}
Sessions = sessionmaker[Session]


@pytest.fixture
def sound(roots: Path) -> dict[str, Any]:
    """A request for a job on a model and a text that are there."""
    (roots / "train.txt").write_text("some text " * 100)
    model = {"source": "local", "path": str(write_model(roots / "llama"))}
    return job(model, {"source": "local", "path": str(roots / "train.txt")})


@pytest.fixture
def http(service: Service) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {service.api_key}"}
    with httpx2.Client(base_url=service.url, headers=headers, timeout=100, trust_env=False) as client:
        yield client


def count(sessions: Sessions) -> tuple[int, int]:
    """Jobs and keys."""
    with sessions() as session:
        tables = (JobRow, IdempotencyRow)
        jobs, used = [session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]
    return jobs, used


def test_a_repetition_makes_nothing_and_is_answered_with_the_present_state(
    client: TestClient, sound: dict[str, Any], sessions: Sessions
) -> None:
    made = client.post(JOBS, json=sound, headers=KEY)
    assert (made.status_code, "Idempotent-Replayed" in made.headers) == (202, False)
    reordered = dict(reversed(sound.items())) | {"seed": 42}  # the same request in other words
    for _ in range(2):
        again = client.post(JOBS, json=reordered, headers=KEY)
        assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
        assert again.json() == made.json()
        assert again.headers["Location"] == made.headers["Location"]
    assert count(sessions) == (1, 1)
    client.post(made.json()["urls"]["cancel"])
    assert client.post(JOBS, json=sound, headers=KEY).json()["status"] == "cancelled"
    assert client.post(JOBS, json=sound).json()["id"] != made.json()["id"]


def test_a_key_stands_for_one_request_of_one_project(
    client: TestClient, sound: dict[str, Any], sessions: Sessions
) -> None:
    first = client.post(JOBS, json=sound, headers=KEY).json()
    for path, body in ((JOBS, {**sound, "seed": 7}), (f"{JOBS}/{first['id']}/cancel", None)):
        refused = client.post(path, json=body, headers=KEY)
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    with sessions.begin() as session:
        session.add(ProjectRow(id="proj_other", name="other", namespace="other"))
        session.flush()
        made = keys.create(session, project_id="proj_other", name="theirs", scopes=(Scope.ADMIN,))
    theirs = client.post(JOBS, json=sound, headers={**KEY, "Authorization": f"Bearer {made.token}"})
    assert theirs.status_code == 202
    assert theirs.json()["id"] != first["id"]


def test_a_key_is_neither_long_nor_empty_nor_odd(client: TestClient, sound: dict[str, Any], sessions: Sessions) -> None:
    assert client.post(JOBS, json=sound, headers={"Idempotency-Key": "k" * 255}).status_code == 202
    for odd in ("k" * 256, "", b"caf\xe9"):
        refused = client.post(JOBS, json=sound, headers={"Idempotency-Key": odd})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter")
        assert refused.json()["errors"][0]["pointer"] == "/idempotency-key"
    assert count(sessions) == (1, 1)


def test_neither_a_refusal_nor_a_fault_uses_up_the_key(
    client: TestClient, sound: dict[str, Any], sessions: Sessions, door_settings: Settings
) -> None:
    refused = client.post(JOBS, json={**sound, "seed": -1}, headers=KEY)
    unplanned = client.post(JOBS, json={**sound, "dataset": {"source": "file", "id": "file_0"}}, headers=KEY)
    assert (refused.status_code, unplanned.status_code) == (422, 422)
    lame = door_settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:1"})
    stored = {**sound, "dataset": {"source": "s3", "uri": "s3://texts/a.txt"}}
    with TestClient(create_app(lame), headers=client.headers) as other:
        assert other.post(JOBS, json=stored, headers=KEY).status_code == 503
    assert count(sessions) == (0, 0)
    assert client.post(JOBS, json=sound, headers=KEY).status_code == 202


def test_an_upload_and_a_cancellation_are_repeated_without_effect(
    client: TestClient, sound: dict[str, Any], stored: Callable[[], tuple[int, ...]]
) -> None:
    upload = {"url": "/v1/files", "params": {"name": "a.txt"}, "headers": KEY}
    first = client.post(content=b"some text", **upload)
    again = client.post(content=b"some text", **upload)
    assert (again.status_code, again.headers["Idempotent-Replayed"], again.json()) == (201, "true", first.json())
    assert client.post(content=b"other text", **upload).json()["code"] == "idempotency_key_reused"
    assert stored() == (0, 0, 0, 1, 1, 0)

    cancel = client.post(JOBS, json=sound).json()["urls"]["cancel"]
    assert "Idempotent-Replayed" not in client.post(cancel, headers={"Idempotency-Key": "two"}).headers
    assert client.post(cancel, headers={"Idempotency-Key": "two"}).headers["Idempotent-Replayed"] == "true"


def test_of_many_at_once_one_takes_effect(
    service: Service, http: httpx2.Client, sound: dict[str, Any], sessions: Sessions
) -> None:
    start = threading.Barrier(12)

    def post(number: int) -> httpx2.Response:
        start.wait()
        return http.post(JOBS, json=sound, headers={"Idempotency-Key": f"key {number % 2}"})

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(post, range(12)))
    assert count(sessions) == (2, 2), [answer.text for answer in answers]
    for key in range(2):
        of_key = answers[key::2]
        accepted = [answer for answer in of_key if answer.status_code == 202]
        assert len({answer.json()["id"] for answer in accepted}) == 1
        assert sum("Idempotent-Replayed" not in answer.headers for answer in accepted) == 1
        for answer in of_key:
            assert answer.status_code == 202 or answer.json()["code"] == "idempotency_in_flight"


def test_a_process_killed_in_between_leaves_the_key_unused(
    service: Service, http: httpx2.Client, sound: dict[str, Any], sessions: Sessions
) -> None:
    with ThreadPoolExecutor(1) as pool, sessions.begin() as session:
        session.execute(text("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE"))  # the job is stored, its doorbell not yet
        first = pool.submit(http.post, JOBS, json=sound, headers=KEY)
        until(lambda: waits_for_a_lock(service))
        second = http.post(JOBS, json=sound, headers=KEY)
        assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_flight")
        assert second.headers["Retry-After"] == "1"
        service.kill()
        assert isinstance(first.exception(timeout=60), httpx2.TransportError)
    until(lambda: not waits_for_a_lock(service))
    assert count(sessions) == (0, 0)
    service.start()
    made = http.post(JOBS, json=sound, headers=KEY)
    assert (made.status_code, "Idempotent-Replayed" in made.headers) == (202, False)
    assert count(sessions) == (1, 1)


def test_submit_asks_again_and_makes_one_job(
    service: Service, sound: dict[str, Any], sessions: Sessions, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(httpx2.Request("POST", service.url, json=sound).content.decode())
    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as session:
            session.execute(text("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE"))
            submitting = pool.submit(prunery, "submit", str(recipe))
            until(lambda: waits_for_a_lock(service))
            service.kill()
        service.start()
        done = submitting.result(timeout=120)
    assert done.returncode == 0, done.stderr
    with sessions() as session:
        assert [row.id for row in session.scalars(select(JobRow))] == [done.stdout.strip()]


def test_keys_are_forgotten_after_a_day(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for key, hours in (("old", 24.1), ("young", 23.9)):
            at = func.now() - timedelta(hours=hours)
            session.add(
                IdempotencyRow(
                    project_id=DEFAULT_PROJECT, key=key, fingerprint="f", resource_id="cjob_1", created_at=at
                )
            )
    with sessions.begin() as session:
        replays.forget(session)
    with sessions() as session:
        assert [row.key for row in session.scalars(select(IdempotencyRow))] == ["young"]


def waits_for_a_lock(service: Service) -> bool:
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with service.sessions() as session:
        return bool(session.scalar(query))


def until(holds: Callable[[], bool]) -> None:
    end = threading.Event()
    for _ in range(600):
        if holds():
            return
        end.wait(0.1)
    raise AssertionError("it did not happen in time")
