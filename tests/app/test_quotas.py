"""Limits of a project over HTTP."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app.main import create_app
from jobs.settings import Settings
from jobs.webhook_tables import WebhookDeliveryRow
from tests import revisions
from tests.app.conftest import job, write_model
from tests.app.tenants import PROJECTS, make_key, make_project
from worker import leases

JOBS = "/v1/compression/jobs"
TEXT = b"word " * 200
Stored = Callable[[], tuple[int, ...]]


@pytest.fixture
def request_(roots: Path) -> dict[str, Any]:
    """A sound request for a job."""
    text = roots / "a.txt"
    text.write_bytes(TEXT)
    return job({"source": "local", "path": str(write_model(roots / "model"))}, {"source": "local", "path": str(text)})


def quotas(client: TestClient, headers: dict[str, str] | None = None) -> dict[str, tuple[int | None, int]]:
    answer = client.get("/v1/quotas", headers=headers)
    return {each["name"]: (each["limit"], each["used"]) for each in answer.json()["data"]}


def limit(client: TestClient, **limits: int | None) -> None:
    assert client.patch(f"{PROJECTS}/proj_default", json=limits).status_code == 200


def upload(client: TestClient, content: bytes = TEXT, **headers: str) -> Any:
    return client.post("/v1/files", params={"name": "a.txt"}, content=content, headers=headers)


def test_more_waiting_jobs_than_the_limit_are_refused(
    client: TestClient, request_: dict[str, Any], stored: Stored
) -> None:
    limit(client, max_queued=2)
    made = [client.post(JOBS, json=request_).json()["id"] for _ in range(2)]
    before = stored()
    refused = client.post(JOBS, json=request_)
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["retryable"]) == (429, "quota_exceeded", True)
    assert (problem["quota"], problem["limit"], problem["used"]) == ("queued_jobs", 2, 2)
    assert stored() == before
    assert quotas(client)["queued_jobs"] == (2, 2)
    client.post(f"{JOBS}/{made[0]}/cancel")
    assert client.post(JOBS, json=request_).status_code == 202
    usage = client.get("/v1/usage").json()
    assert (usage["jobs"]["queued"], usage["jobs"]["cancelled"], usage["jobs"]["running"]) == (2, 1, 0)


def test_webhooks_are_told_once_of_each_crossing(
    client: TestClient, request_: dict[str, Any], sessions: sessionmaker[Session]
) -> None:
    client.post("/v1/webhook_endpoints", json={"url": "https://example.com/hook", "events": ["quota.*"]})
    limit(client, max_queued=1)
    first = client.post(JOBS, json=request_).json()
    assert [client.post(JOBS, json=request_).status_code for _ in range(3)] == [429] * 3
    client.post(first["urls"]["cancel"])
    assert client.post(JOBS, json=request_).status_code == 202
    assert client.post(JOBS, json=request_).status_code == 429
    with sessions() as session:
        told = list(session.scalars(select(WebhookDeliveryRow).order_by(WebhookDeliveryRow.id)))
    assert [row.type for row in told] == ["quota.exceeded"] * 2
    about = json.loads(told[0].body)["data"]
    assert (about["name"], about["limit"], about["used"]) == ("queued_jobs", 1, 1)


def test_each_project_has_limits_of_its_own(client: TestClient, request_: dict[str, Any]) -> None:
    other = make_key(client, "jobs:write", "jobs:read", project_id=make_project(client, max_queued=0))
    assert client.post(JOBS, json=request_, headers=other).status_code == 429
    assert client.post(JOBS, json=request_).status_code == 202
    assert quotas(client, other)["queued_jobs"] == (0, 0)
    assert quotas(client)["queued_jobs"] == (None, 1)


def test_the_settings_limit_the_projects_that_have_no_limit_of_their_own(
    client: TestClient, door_settings: Settings, request_: dict[str, Any]
) -> None:
    strict = door_settings.model_copy(update={"project_max_queued": 0, "project_max_uploaded_bytes": 10})
    with TestClient(create_app(strict), headers=client.headers) as limited:
        assert limited.post(JOBS, json=request_).json()["quota"] == "queued_jobs"
        assert upload(limited).json()["quota"] == "uploaded_bytes"
        limit(limited, max_queued=1)
        assert limited.post(JOBS, json=request_).status_code == 202
        assert quotas(limited)["uploaded_bytes"] == (10, 0)


def test_requests_at_once_do_not_get_past_a_limit_together(client: TestClient, request_: dict[str, Any]) -> None:
    limit(client, max_queued=3)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post(JOBS, json=request_).status_code, range(8)))
    assert sorted(answers) == [202] * 3 + [429] * 5


def test_uploads_are_refused_when_there_is_no_room(client: TestClient, stored: Stored) -> None:
    limit(client, max_uploaded_bytes=len(TEXT) + 500)
    assert upload(client).status_code == 201
    before = stored()
    for content in (TEXT, iter([TEXT[:600], TEXT[600:]])):  # the second says nothing of its length
        refused = upload(client, content)  # type: ignore[arg-type]
        assert (refused.status_code, refused.json()["quota"]) == (429, "uploaded_bytes")
        assert (refused.json()["limit"], refused.json()["used"]) == (len(TEXT) + 500, len(TEXT))
    assert stored() == before
    assert upload(client, TEXT[:500]).status_code == 201
    assert client.get("/v1/usage").json()["uploaded_bytes"] == len(TEXT) + 500


def test_a_repeated_upload_needs_no_room(client: TestClient) -> None:
    limit(client, max_uploaded_bytes=len(TEXT))
    first, again = (upload(client, **{"Idempotency-Key": "once"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()


def test_storage_counts_what_was_published_and_uploaded_once_each(
    client: TestClient, sessions: sessionmaker[Session], request_: dict[str, Any]
) -> None:
    made = [client.post(JOBS, json=request_).json()["id"] for _ in range(2)]
    with sessions.begin() as session:
        for id in made:
            claim = leases.claim(session, id, "worker", 60)
            assert claim is not None
            weights = revisions.file("model.safetensors", 3 * 2**31, "a" * 64)
            report = revisions.file("report", int(id == made[0]) + 1, id)
            assert leases.succeed(session, claim, {}, [revisions.of(weights, report)])
    assert upload(client).status_code == 201
    published = 3 * 2**31 + 3
    assert client.get("/v1/usage").json()["published_bytes"] == published
    limit(client, max_storage_bytes=published + len(TEXT))
    for refused in (client.post(JOBS, json=request_), upload(client)):
        assert (refused.status_code, refused.json()["quota"]) == (429, "storage_bytes")
        assert refused.json()["used"] == published + len(TEXT)
    assert quotas(client)["storage_bytes"] == (published + len(TEXT), published + len(TEXT))
