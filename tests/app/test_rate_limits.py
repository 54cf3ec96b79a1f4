"""Requests of a key within a window of time."""

import logging
from collections.abc import Iterator

import pytest
import redis
from huggingface_hub.utils import parse_ratelimit_headers
from starlette.testclient import TestClient

from app import rate_limits
from app.main import create_app
from cli.stack.servers import Servers
from jobs.settings import Settings
from tests.app.tenants import make_key

ME = "/v1/me"
LIMIT, WINDOW = 5, 300


@pytest.fixture
def limited(client: TestClient, door_settings: Settings) -> Iterator[TestClient]:
    strict = door_settings.model_copy(update={"rate_limit_requests": LIMIT, "rate_limit_seconds": WINDOW})
    with TestClient(create_app(strict), headers=client.headers) as limited:
        yield limited


def test_each_answer_says_how_many_requests_are_left_as_the_hubs_clients_read_it(limited: TestClient) -> None:
    for left in range(LIMIT - 1, -1, -1):
        answer = limited.get(ME)
        assert answer.status_code == 200
        said = parse_ratelimit_headers(answer.headers)
        assert said is not None
        assert (said.resource_type, said.remaining, said.limit, said.window_seconds) == ("api", left, LIMIT, WINDOW)
        assert 0 < said.reset_in_seconds <= WINDOW
    refused = limited.get(ME)
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["retryable"]) == (429, "rate_limited", True)
    assert refused.headers["RateLimit-Policy"] == f'"fixed window";"api";q={LIMIT};w={WINDOW}'
    assert refused.headers["RateLimit"] == f'"api";r=0;t={refused.headers["Retry-After"]}'
    assert 0 < int(refused.headers["Retry-After"]) <= WINDOW
    assert refused.headers["X-Request-Id"] == problem["request_id"]


def test_a_new_window_begins_anew(limited: TestClient, servers: Servers) -> None:
    while limited.get(ME).status_code == 200:
        pass
    broker = redis.Redis.from_url(servers.valkey.url)
    (name,) = broker.scan_iter("prunery:requests:*")
    assert 0 < broker.ttl(name) <= WINDOW
    broker.pexpire(name, 1)
    while broker.exists(name):
        pass
    assert limited.get(ME).status_code == 200


def test_keys_are_counted_apart_and_processes_together(
    client: TestClient, limited: TestClient, door_settings: Settings
) -> None:
    headers = make_key(client, "jobs:read")
    for _ in range(LIMIT):
        assert limited.get(ME, headers=headers).status_code == 200
    assert limited.get(ME, headers=headers).status_code == 429
    assert limited.get(ME).status_code == 200
    same = door_settings.model_copy(update={"rate_limit_requests": LIMIT, "rate_limit_seconds": WINDOW})
    with TestClient(create_app(same), headers=headers) as another:
        assert another.get(ME).status_code == 429


def test_whoever_has_no_key_and_the_health_checks_are_not_counted(limited: TestClient) -> None:
    for _ in range(LIMIT + 1):
        assert limited.get("/healthz").status_code == 200
        assert limited.get(ME, headers={"Authorization": "Bearer nobody's"}).status_code == 401
    answer = limited.get(ME)
    assert answer.headers["RateLimit"].startswith(f'"api";r={LIMIT - 1};')


def test_zero_lets_all_through(client: TestClient, door_settings: Settings) -> None:
    open_ = door_settings.model_copy(update={"rate_limit_requests": 0})
    with TestClient(create_app(open_), headers=client.headers) as unlimited:
        answer = unlimited.get(ME)
    assert answer.status_code == 200
    assert "RateLimit" not in answer.headers


def test_without_the_broker_all_are_let_through_and_the_log_says_so_once(
    client: TestClient,
    door_settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rate_limits, "PAUSE_SECONDS", 0.0)
    nowhere = type(door_settings.broker_url)("redis://:secret@127.0.0.1:1/0")
    strict = door_settings.model_copy(update={"rate_limit_requests": 1, "broker_url": nowhere})
    with caplog.at_level(logging.INFO), TestClient(create_app(strict), headers=client.headers) as lame:
        for _ in range(3):
            answer = lame.get(ME)
            assert answer.status_code == 200
            assert "RateLimit" not in answer.headers
    said = [record for record in caplog.records if record.name == rate_limits.__name__]
    assert [record.levelname for record in said] == ["WARNING"]
    assert "secret" not in said[0].getMessage()
