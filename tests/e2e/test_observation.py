"""What an operator sees of a real job on the whole of Prunery."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.stack.stack import Stack
from jobs.states import Status
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


def test_every_line_of_every_log_is_whole_and_none_holds_a_secret(
    stack: Stack, caller: Caller, small_model: Path, small_text: Path
) -> None:
    caller.http.headers["X-Request-Id"] = "the-one"
    job = caller.submit(small_model, small_text, steps=2)
    caller.http.headers["X-Request-Id"] = "another"
    caller.http.get(f"{JOBS}/{job['id']}", params={"secret": "s3cret"})
    caller.wait_for(job, Status.SUCCEEDED)

    told = {part: lines(stack, part) for part in OURS}
    (posted,) = [line for line in told["api"] if line["message"] == f"POST {JOBS}"]
    assert (posted["request_id"], posted["status"], posted["level"]) == ("the-one", 202, "info")
    assert posted["project"] == "proj_default"
    assert posted["seconds"] > 0
    assert all(line["worker"].startswith("worker-1@") for line in told["worker-1"] if line["logger"] == "worker.runner")

    everything = "".join(path.read_text(errors="replace") for path in stack.servers.folder.logs.iterdir())
    assert "s3cret" not in everything
    for name, secret in stack.servers.credentials.model_dump().items():
        assert secret not in everything, name
