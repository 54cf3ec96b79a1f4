"""What an operator sees of a real job on the whole of Prunery."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.stack.stack import Stack
from jobs.states import Status
from tests.app.test_metrics import scrape
from tests.e2e.test_job_walk import JOBS, Caller

OURS = ("api", "relay", "worker-1", "migrations")


@pytest.fixture
def caller(stack: Stack) -> Iterator[Caller]:
    caller = Caller(stack)
    yield caller
    caller.http.close()


def lines(stack: Stack, part: str) -> list[dict[str, Any]]:
    text = (stack.servers.folder.logs / f"{part}.log").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    assert all({"ts", "level", "logger", "message"} <= set(line) for line in found)
    return found


def test_a_real_job_shows_in_the_metrics(stack: Stack, caller: Caller, small_model: Path, small_text: Path) -> None:
    before = scrape(caller.http)
    job = caller.submit(small_model, small_text, steps=2)
    caller.wait_for(job, Status.SUCCEEDED)
    artifact = caller.http.get(f"{JOBS}/{job['id']}/artifacts").json()["data"][0]
    caller.http.get(f"{JOBS}/{job['id']}/artifacts/{artifact['path']}")
    after = scrape(caller.http)
    assert not [key for key in after if job["id"] in str(key)]

    def grown(name: str, **labels: str) -> float:
        key = (f"compression_{name}", frozenset(labels.items()))
        return after[key] - before.get(key, 0.0)

    assert grown("jobs_created_total") == 1
    assert grown("jobs", status="succeeded") == 1
    assert grown("jobs_finished_total", status="succeeded", reason="none") == 1
    assert grown("job_attempts_total", outcome="succeeded") == 1
    assert grown("queue_wait_seconds_count") == 1
    assert 0 < grown("gpu_seconds_total", useful="true") < 300
    for phase in ("preparing", "pruning", "uploading"):
        assert grown("job_duration_seconds_count", phase=phase) == 1, phase
    assert grown("artifact_download_bytes_total") == artifact["bytes"]
    assert grown("http_request_duration_seconds_count", method="POST", route=JOBS, status="202") == 1
    # The worker is seen again with its next heartbeat only: until then as it was, at work.
    assert sum(count for (name, _), count in after.items() if name == "compression_workers") >= 1
    assert after["compression_outbox_unsent", frozenset()] == 0
    assert {dict(labels)["part"] for name, labels in after if name == "compression_part_seen_timestamp_seconds"} == {
        "relay",
        "webhooks",
    }


def test_every_line_of_every_log_is_whole_and_none_holds_a_secret(
    stack: Stack, caller: Caller, small_model: Path, small_text: Path
) -> None:
    caller.http.headers["X-Request-Id"] = "the-one"
    job = caller.submit(small_model, small_text, steps=2)
    caller.http.headers["X-Request-Id"] = "another"
    caller.http.get(f"{JOBS}/{job['id']}", params={"secret": "s3cret"})
    caller.wait_for(job, Status.SUCCEEDED)

    told = {part: lines(stack, part) for part in OURS}
    (posted,) = [line for line in told["api"] if line["message"] == f"POST {JOBS}" and line["request_id"] == "the-one"]
    assert (posted["status"], posted["level"]) == (202, "info")
    assert posted["project"] == "proj_default"
    assert posted["seconds"] > 0
    attempt = [line for line in told["worker-1"] if line.get("job_id") == job["id"] and line.get("attempt") == 1]
    assert attempt
    assert all(line["worker"].startswith("worker-1@") and line["trace_id"] == posted["trace_id"] for line in attempt)

    everything = "".join(path.read_text(errors="replace") for path in stack.servers.folder.logs.iterdir())
    assert "s3cret" not in everything
    for name, secret in stack.servers.credentials.model_dump().items():
        assert secret not in everything, name
