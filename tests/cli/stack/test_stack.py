"""The whole stack as a part of another program."""

import signal
from pathlib import Path

import httpx2

from cli.stack import Stack


def test_worker_can_be_killed_and_started_again(stack: Stack) -> None:
    (worker,) = stack.workers
    stack.processes[worker].kill()
    failure = stack.failure()
    assert failure is not None
    assert failure.part == worker
    assert stack.processes[worker].returncode == -signal.SIGKILL
    stack.start_worker(worker)
    stack.wait_for_worker(worker)
    assert stack.failure() is None
    assert httpx2.get(f"{stack.url}/readyz").status_code == 200


def test_parts_start_again_where_they_were(stack: Stack) -> None:
    url, pids = stack.url, {part: process.pid for part, process in stack.processes.items()}
    for part in ("api", "relay", "valkey"):
        stack.restart(part)
    for part in ("api", "relay", "valkey"):
        stack.wait_for(part)
        assert stack.processes[part].pid != pids[part]
    assert stack.url == url
    assert stack.failure() is None


def test_api_is_light_and_without_torch(stack: Stack) -> None:
    process = Path(f"/proc/{stack.processes['api'].pid}")
    resident = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) <= 165 * 1024
    assert "torch" not in (process / "maps").read_text()
