"""The measurements and the log of a job, as a client reads them."""

from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app import store
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT
from worker import leases, series
from worker.leases import Claim

JOBS = "/v1/compression/jobs"
Sessions = sessionmaker[Session]


@pytest.fixture
def claim(sessions: Sessions, spec: JobSpec) -> Claim:
    with sessions.begin() as session:
        row = store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=3)
        claim = leases.claim(session, row.id, "worker", 600)
    assert claim is not None
    return claim


def measure(sessions: Sessions, claim: Claim, steps: range, *, loss: float, anew: bool = False) -> None:
    points = [
        point
        for step in steps
        for point in series.points({"step": step, "loss": loss + step, "sparsity": 0.5, "percent": 9.0, "eta": None})
    ]
    with sessions.begin() as session:
        series.write(session, claim.job_id, points, anew=anew)


def read(client: TestClient, claim: Claim, **params: Any) -> dict[str, tuple[list[int], list[float], int]]:
    answer = client.get(f"{JOBS}/{claim.job_id}/metrics", params=params)
    assert answer.status_code == 200, answer.text
    return {entry["key"]: (entry["steps"], entry["values"], entry["total"]) for entry in answer.json()["data"]}


def test_series_are_read_by_name_and_from_a_step_on(client: TestClient, sessions: Sessions, claim: Claim) -> None:
    assert read(client, claim) == {}
    measure(sessions, claim, range(1, 5), loss=1.0)
    assert read(client, claim) == {
        "loss": ([1, 2, 3, 4], [2.0, 3.0, 4.0, 5.0], 4),
        "sparsity": ([1, 2, 3, 4], [0.5] * 4, 4),
    }
    assert read(client, claim, keys="loss,nothing", from_step=3) == {"loss": ([3, 4], [4.0, 5.0], 2)}


def test_a_long_series_keeps_its_ends_and_says_how_long_it_was(
    client: TestClient, sessions: Sessions, claim: Claim
) -> None:
    measure(sessions, claim, range(1, 3001), loss=0.0)
    steps, values, total = read(client, claim, keys="loss")["loss"]
    assert (len(steps), steps[0], steps[-1], total) == (2000, 1, 3000, 3000)
    assert values == [float(step) for step in steps]
    assert len(read(client, claim, max_points=10)["sparsity"][0]) == 10
    assert client.get(f"{JOBS}/{claim.job_id}/metrics", params={"max_points": 1}).status_code == 422


def test_steps_that_are_trained_again_replace_all_that_came_after(
    client: TestClient, sessions: Sessions, claim: Claim
) -> None:
    measure(sessions, claim, range(1, 11), loss=0.0, anew=True)
    measure(sessions, claim, range(11, 14), loss=0.0)
    measure(sessions, claim, range(6, 9), loss=100.0, anew=True)
    steps, values, _ = read(client, claim)["loss"]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8]
    assert values == [1.0, 2.0, 3.0, 4.0, 5.0, 106.0, 107.0, 108.0]
    measure(sessions, claim, range(8, 10), loss=200.0)
    assert read(client, claim)["loss"][1][-2:] == [208.0, 209.0]


def test_what_is_no_measurement_is_not_kept() -> None:
    odd = {"step": 3, "loss": None, "nan": float("nan"), "flag": True, "text": "x", "n" * 65: 1, "rate": 2}
    assert series.points(odd) == [("rate", 3, 2.0)]
    assert series.points({"loss": 1.0}) == series.points({"step": -1, "loss": 1.0}) == []
    assert series.points({"step": 2**31, "loss": 1.0}) == series.points({"step": 1.5, "loss": 1.0}) == []


def test_the_log_ends_with_its_newest_lines_by_level_and_attempt(
    client: TestClient, sessions: Sessions, claim: Claim
) -> None:
    def lines(**params: Any) -> list[tuple[int, str, str]]:
        answer = client.get(f"{JOBS}/{claim.job_id}/logs", params=params)
        assert answer.status_code == 200, answer.text
        return [(line["attempt"], line["level"], line["message"]) for line in answer.json()["data"]]

    def say(claim: Claim, *messages: tuple[str, str]) -> None:
        with sessions.begin() as session:
            events = [("log", {"level": level, "message": message}) for level, message in messages]
            assert leases.append(session, claim, [*events, ("phase", {"phase": "pruning"})])

    say(claim, ("info", "one"), ("warning", "two"), ("stderr", "three"))
    with sessions.begin() as session:
        assert leases.release(session, claim, "worker_stopped")
        again = leases.claim(session, claim.job_id, "worker", 600)
    assert again is not None
    say(again, ("info", "four"), ("error", "five"))
    assert [message for _, _, message in lines()] == ["one", "two", "three", "four", "five"]
    assert lines(tail=2) == [(2, "info", "four"), (2, "error", "five")]
    assert lines(level=["warning", "error"]) == [(1, "warning", "two"), (2, "error", "five")]
    assert lines(attempt=1, tail=2) == [(1, "warning", "two"), (1, "stderr", "three")]
    assert lines(attempt=3) == []
    assert client.get(f"{JOBS}/{claim.job_id}/logs", params={"level": "loud"}).status_code == 422
