"""`prunery up` ends while a job runs: no engine stays behind, and the next start goes on with the job."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.cli.stack.supervisor import Supervisor, supervising

SETTINGS = {"PRUNERY_LEASE_SECONDS": "4", "PRUNERY_HEARTBEAT_SECONDS": "1"}


def client(data: Path) -> httpx2.Client:
    connection = json.loads((data / "connection.json").read_text())
    headers = {"Authorization": f"Bearer {connection['api_key']}"}
    return httpx2.Client(base_url=f"{connection['url']}/v1", headers=headers)


def wait(ready: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def engine_runs(up: Supervisor) -> bool:
    return any("worker.child" in line for line in up.family().survivors())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_ended_while_a_job_runs(tmp_path: Path, small_model: Path, small_text: Path, how: signal.Signals) -> None:
    endless: dict[str, Any] = {
        "base_model": {"source": "local", "path": str(small_model)},
        "dataset": {"source": "local", "path": str(small_text)},
        "method": {
            "type": "lora_prune",
            "ratio": 0.3,
            "round_ffn_to": 4,
            "train": {"steps": 1_000_000, "batch_size": 2, "sequence_length": 32},
        },
    }
    data = tmp_path / "data"
    with supervising(data, "--local", "/", settings=SETTINGS) as up, client(data) as api:
        answer = api.post("/compression/jobs", json=endless)
        assert answer.status_code == 202, answer.text
        job = answer.json()["id"]
        wait(lambda: engine_runs(up))
        family = up.family()
        up.process.send_signal(how)
        up.process.wait(60)
        family.wait_until_gone()
    with supervising(data, "--local", "/", settings=SETTINGS) as up, client(data) as api:
        wait(lambda: bool(api.get(f"/compression/jobs/{job}").json()["attempt"] == 2))
        wait(lambda: engine_runs(up))
