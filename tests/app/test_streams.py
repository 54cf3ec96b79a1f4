"""Jobs followed over server-sent events and by waiting requests, at an API process of its own."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from tests.cli.conftest import Service
from worker.leases import Claim

JOBS = "/v1/compression/jobs"


@dataclass(frozen=True)
class Told:
    """One event, as a browser's EventSource would hand it on."""

    event: str
    id: str | None
    data: Any


class Follower:
    """Reads a stream by the rules of EventSource, as far as this service uses them."""

    def __init__(self, service: Service, path: str, **headers: str) -> None:
        self.http = _client(service)
        self._open = self.http.stream("GET", path, headers=headers)
        self.response = self._open.__enter__()
        self.events = self._events()

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.__exit__(None, None, None)
        self.http.close()

    def _events(self) -> Iterator[Told]:
        """Until the server ends the stream."""
        fields: dict[str, str] = {}
        for line in self.response.iter_lines():
            if not line:
                if "data" in fields:
                    yield Told(fields.get("event", "message"), fields.get("id"), json.loads(fields["data"]))
                fields = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value

    def until(self, event: str) -> list[Told]:
        seen = []
        for told in self.events:
            seen.append(told)
            if told.event == event:
                return seen
        raise AssertionError(f"the stream ended without {event}: {seen}")


def _client(service: Service) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {service.api_key}"}
    return httpx2.Client(base_url=service.url, headers=headers, timeout=100, trust_env=False)


@pytest.fixture
def http(service: Service) -> Iterator[httpx2.Client]:
    with _client(service) as client:
        yield client


@contextmanager
def later(action: Callable[[], object]) -> Iterator[None]:
    timer = threading.Timer(0.5, action)
    timer.start()
    yield
    timer.join()


def test_a_stream_tells_what_was_and_what_comes_and_closes_at_the_end(service: Service, http: httpx2.Client) -> None:
    job_id = service.queue()
    url = f"{JOBS}/{job_id}/stream"
    with Follower(service, url) as stream:
        assert stream.response.headers["Content-Type"].startswith("text/event-stream")
        assert stream.response.headers["X-Accel-Buffering"] == "no"
        assert stream.until("status") == [Told("status", "1", stream_event(http, job_id, 1))]
        claim = service.claim(job_id)
        service.say(claim, ("log", {"level": "info", "message": "so\nit goes"}), ("phase", {"phase": "pruning"}))
        service.progress(claim, "pruning", step=3, percent=12.5)
        seen = stream.until("progress")
        assert [(told.event, told.id) for told in seen] == [
            ("status", "2"),
            ("log", "3"),
            ("phase", "4"),
            ("progress", None),
        ]
        assert (seen[1].data["data"]["message"], seen[3].data["step"]) == ("so\nit goes", 3)
        service.succeed(claim, {})
        rest = list(stream.events)
    assert [(told.event, told.id) for told in rest] == [("status", "5"), ("done", None)]
    assert rest[-1].data == http.get(f"{JOBS}/{job_id}").json()


def test_whoever_comes_back_goes_on_after_the_last_event_and_not_after_the_end(
    service: Service, http: httpx2.Client
) -> None:
    job_id = service.published({})
    url = f"{JOBS}/{job_id}/stream"
    with Follower(service, url, **{"Last-Event-ID": "2"}) as stream:
        assert [told.id for told in stream.events] == ["3", None]
    with Follower(service, f"{url}?after=1") as stream:
        assert [told.id for told in stream.events] == ["2", "3", None]
    ended = http.get(url, headers={"Last-Event-ID": "3"})
    assert (ended.status_code, ended.content) == (204, b"")
    assert http.get(url, headers={"Last-Event-ID": "x"}).status_code == 422
    assert http.get(f"{JOBS}/cjob_0/stream").status_code == 404


def test_a_long_history_comes_whole_and_in_its_order(service: Service) -> None:
    claim = service.claim(service.queue())
    service.say(claim, *[("log", {"message": f"line {number}"}) for number in range(1200)])
    service.fail(claim, code="nan_loss", message="NaN")
    with Follower(service, f"{JOBS}/{claim.job_id}/stream") as stream:
        seen = list(stream.events)
    assert [told.id for told in seen[:-1]] == [str(number) for number in range(1, 1204)]
    assert seen[-1].event == "done"


def test_several_jobs_are_followed_over_one_connection(service: Service, http: httpx2.Client) -> None:
    first, second = service.queue(), service.queue()
    with Follower(service, f"/v1/stream?jobs={first},{second}") as stream:
        told = stream.events
        assert [(next(told).data["id"]) for _ in range(2)] == [first, second]
        service.fail(service.claim(second), code="nan_loss", message="NaN")
        assert http.post(f"{JOBS}/{first}/cancel").status_code == 200
        rest = list(told)
    assert {each.data["id"]: each.data["status"] for each in rest[:-1]} == {first: "cancelled", second: "failed"}
    assert rest[-1].event == "done"
    assert http.get(f"/v1/stream?jobs={first},cjob_0").status_code == 404
    assert http.get("/v1/stream?jobs=" + ",".join(["a"] * 101)).status_code == 422


def test_a_known_version_is_not_sent_again_and_a_new_one_is_waited_for(service: Service, http: httpx2.Client) -> None:
    job_id = service.queue()
    url = f"{JOBS}/{job_id}"
    first = http.get(url)
    known = {"If-None-Match": first.headers["ETag"]}
    assert first.headers["ETag"] == f'"{first.json()["version"]}"'
    assert int(first.headers["Retry-After"]) > 0
    unchanged = http.get(url, headers=known)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["ETag"] == first.headers["ETag"]
    assert http.get(url, headers=known, params={"wait": 0.2}).status_code == 304
    claims: list[Claim] = []
    with later(lambda: claims.append(service.claim(job_id))):
        changed = http.get(url, headers=known, params={"wait": 60})
    assert (changed.status_code, changed.json()["status"]) == (200, "running")
    (claim,) = claims
    with later(lambda: service.progress(claim, "pruning", step=1)):
        assert http.get(url, params={"wait": 60}).json()["progress"]["step"] == 1
    assert http.get(url, headers=known, params={"wait": 60}).json()["status"] == "running"  # known no longer
    service.fail(claim, code="nan_loss", message="NaN")
    ended = http.get(url, params={"wait": 60})
    assert ended.json()["status"] == "failed"
    assert "Retry-After" not in ended.headers
    assert http.get(url, params={"wait": 61}).status_code == 422


def test_fifty_who_wait_do_not_keep_others_from_their_answers(service: Service, http: httpx2.Client) -> None:
    job_id = service.queue()
    url = f"{JOBS}/{job_id}"
    version = http.get(url).headers["ETag"]
    done = threading.Event()

    def wait() -> int:
        with _client(service) as client:
            answer = client.get(url, headers={"If-None-Match": version}, params={"wait": 60})
            done.set()
            return int(answer.status_code)

    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(wait) for _ in range(50)]
        streams = [Follower(service, f"{url}/stream") for _ in range(10)]
        for stream in streams:
            stream.until("status")
        with service.sessions() as session:
            held = session.scalar(
                text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'")
            )
        assert held <= 2  # this question, and at most one look at what has changed
        assert [http.get(JOBS).status_code for _ in range(20)] == [200] * 20
        assert not done.is_set()
        service.claim(job_id)
        assert [future.result() for future in waiting] == [200] * 50
    for stream in streams:
        assert stream.until("status")[-1].data["type"] == "running"
        stream.__exit__()


def test_an_api_that_is_to_end_ends_its_streams(service: Service) -> None:
    job_id = service.queue()
    with Follower(service, f"{JOBS}/{job_id}/stream") as stream:
        stream.until("status")
        assert service.process is not None
        service.process.terminate()
        assert list(stream.events) == []
    assert service.process.wait(timeout=60) in (0, -signal.SIGTERM)


def stream_event(http: httpx2.Client, job_id: str, seq: int) -> Any:
    return http.get(f"{JOBS}/{job_id}/events", params={"after": seq - 1}).json()["data"][0]
