"""Every failure is a problem document with the request's id."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app.main import create_app
from jobs.settings import Settings
from tests.app.conftest import MAX_BODY, job

JOBS = "/v1/compression/jobs"
CLOSED = "127.0.0.1:1"
JSON = {"Content-Type": "application/json"}
REQUEST: dict[str, Any] = job({"source": "hub", "id": "a/b"}, {"source": "s3", "uri": "s3://texts/a.txt"})

EXCHANGES: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "no such job": ("GET", f"{JOBS}/cjob_0", {}, 404, "not_found"),
    "no such job's events": ("GET", f"{JOBS}/cjob_0/events", {}, 404, "not_found"),
    "no such job to cancel": ("POST", f"{JOBS}/cjob_0/cancel", {}, 404, "not_found"),
    "no such file": ("GET", "/v1/files/file_0", {}, 404, "not_found"),
    "no such route": ("GET", "/v1/nothing", {}, 404, "not_found"),
    "a slash too many": ("GET", f"{JOBS}/", {}, 404, "not_found"),
    "NUL in the path": ("GET", f"{JOBS}/a%00b", {}, 400, "bad_request"),
    "NUL in the query": ("GET", f"{JOBS}?after=%00", {}, 400, "bad_request"),
    "wrong method": ("PUT", f"{JOBS}/cjob_0", {}, 405, "method_not_allowed"),
    "unknown cursor": ("GET", f"{JOBS}?after=cjob_0", {}, 400, "invalid_cursor"),
    "limit 0": ("GET", f"{JOBS}?limit=0", {}, 422, "invalid_parameter"),
    "unknown status": ("GET", f"{JOBS}?status=lost", {}, 422, "invalid_parameter"),
    "broken JSON": ("POST", JOBS, {"content": b'{"name": ', "headers": JSON}, 400, "malformed_json"),
    "no body": ("POST", JOBS, {"headers": JSON}, 422, "invalid_spec"),
    "a list": ("POST", JOBS, {"json": []}, 422, "invalid_spec"),
    "not UTF-8": ("POST", JOBS, {"content": b'{"name": "\xff"}', "headers": JSON}, 400, "bad_request"),
    "nested without end": ("POST", JOBS, {"content": b"[" * 60_000, "headers": JSON}, 400, "bad_request"),
    "not JSON": ("POST", JOBS, {"data": {"a": "b"}}, 415, "unsupported_media_type"),
    "too large": ("POST", JOBS, {"json": {"name": "x" * MAX_BODY}}, 413, "body_too_large"),
    "too large, in chunks": (
        "POST",
        JOBS,
        {"content": iter([b"x" * 40_000] * 2), "headers": JSON},
        413,
        "body_too_large",
    ),
}


def test_each_failure_has_its_status_code_and_shape(client: TestClient, subtests: pytest.Subtests) -> None:
    for name, (method, path, more, status, code) in EXCHANGES.items():
        with subtests.test(name):
            answer = client.request(method, path, **more)
            problem = answer.json()
            assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), problem
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert problem["type"] == f"urn:prunery:problem:{code}"
            assert problem["instance"] == path.partition("?")[0].replace("%00", "\0")
            assert problem["title"]
            assert problem["detail"]
            assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert client.delete(JOBS).headers["Allow"]


def test_every_route_but_the_health_checks_needs_the_key(client: TestClient, subtests: pytest.Subtests) -> None:
    key = client.headers.pop("Authorization").removeprefix("Bearer ")
    documented = client.get("/v1/openapi.json", headers={"Authorization": f"bearer {key}"}).json()
    routes = [(method, path) for path, methods in documented["paths"].items() for method in methods]
    assert len(routes) > 20
    for method, path in [*routes, ("get", "/v1/openapi.json"), ("get", "/nothing")]:
        for header in (None, f"Bearer {key}x", f"Bearer {key[:-1]}", f"Basic {key}", key, "Bearer "):
            with subtests.test(f"{method} {path} {header and header[:8]}"):
                headers = {"Authorization": header} if header else {}
                answer = client.request(method, path, headers=headers)
                if path in ("/healthz", "/readyz"):
                    assert answer.status_code == 200
                    continue
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                if method != "head":
                    assert answer.json()["code"] == "unauthorized"
    assert (
        client.get(JOBS, headers=[("Authorization", "Bearer x"), ("Authorization", f"Bearer {key}")]).status_code == 401
    )


def test_an_empty_key_opens_nothing(settings: Settings) -> None:
    keyless = settings.model_copy(update={"api_key": type(settings.api_key)("")})
    with pytest.raises(ValueError, match="PRUNERY_API_KEY"), TestClient(create_app(keyless)):
        pass


def test_the_request_id_is_the_clients_own_if_it_is_a_sane_one(client: TestClient) -> None:
    given = {"X-Request-Id": "trace-1/a.b:c"}
    assert client.get("/healthz", headers=given).headers["X-Request-Id"] == "trace-1/a.b:c"
    for odd in ("x" * 200, "a b", "a;b", ""):
        own = client.get("/healthz", headers={"X-Request-Id": odd}).headers["X-Request-Id"]
        assert own.startswith("req_")


def test_a_fault_of_ours_is_told_by_its_id_only(
    client: TestClient, sessions: sessionmaker[Session], caplog: pytest.LogCaptureFixture
) -> None:
    with sessions.begin() as session:
        session.execute(text("DROP TABLE jobs CASCADE"))
    answer = client.get(JOBS)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, "internal")
    assert "jobs" not in problem["detail"]
    assert {vars(record)["request_id"] for record in caplog.records} == {problem["request_id"]}
    assert "UndefinedTable" in caplog.text


def test_a_silent_database_or_storage_is_503_and_worth_another_try(client: TestClient, door_settings: Settings) -> None:
    secret = type(door_settings.database_url)
    without_database = {"database_url": secret(f"postgresql+psycopg://u:p@{CLOSED}/x")}
    without_storage = {"s3_endpoint": f"http://{CLOSED}"}
    for missing, said in ((without_database, "database"), (without_storage, "object storage")):
        with TestClient(create_app(door_settings.model_copy(update=missing)), headers=client.headers) as lame:
            answers = [lame.get("/readyz"), lame.post("/v1/files", params={"name": "a.txt"}, content=b"text")]
            if missing is without_database:
                answers += [lame.get(JOBS), lame.get(f"{JOBS}/cjob_0")]
            else:
                answers += [lame.post(JOBS, json=REQUEST)]
            assert lame.get("/healthz").status_code == 200
        for answer in answers:
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (503, "storage_error"), problem
            assert said in problem["detail"].lower()
            assert CLOSED not in answer.text
            assert problem["retryable"] is True
            assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/readyz").json()["status"] in ("ok", "degraded")
