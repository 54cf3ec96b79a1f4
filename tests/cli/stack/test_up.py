"""`prunery up` as its users see it: it comes up, it ends as a whole, and it says why."""

import json
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import httpx2

from cli.stack.ports import LOOPBACK
from tests.cli.stack.holder import CHECKOUT
from tests.cli.stack.supervisor import UP, supervising

# What is of no concern to the stack, and what belongs to another one.
STRAY = {"A_SECRET_OF_SOMEONE_ELSE": "1", "PRUNERY_API_KEY": "of-another-service"}


def test_comes_up_beside_a_taken_port_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with supervising(tmp_path / "data", "--port", str(port), settings=STRAY) as up:
            assert f"Port {port} is taken" in up.greeting
            file = tmp_path / "data" / "connection.json"
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            connection = json.loads(file.read_text())
            assert f"export PRUNERY_URL={connection['url']} PRUNERY_API_KEY={connection['api_key']}" in up.greeting
            jobs = httpx2.get(
                f"{connection['url']}/v1/compression/jobs",
                headers={"Authorization": f"Bearer {connection['api_key']}"},
            )
            assert (jobs.status_code, jobs.json()["data"]) == (200, [])
            family = up.family()
            for stray in ("A_SECRET_OF_SOMEONE_ELSE", "of-another-service"):
                assert not [pid for pid in family.pids if stray in Path(f"/proc/{pid}/environ").read_text()]

            second = subprocess.run(
                [*UP, "--data", str(tmp_path / "data")], cwd=CHECKOUT, capture_output=True, text=True, check=False
            )
            assert second.returncode == 1
            assert f"already runs on {tmp_path / 'data'} (process {up.process.pid})" in second.stderr

            up.process.send_signal(signal.SIGINT)
            code, said = up.end()
            assert code == 0, said
            assert not family.survivors()
            assert not file.exists()


def test_a_part_that_dies_ends_all_and_is_named(tmp_path: Path) -> None:
    with supervising(tmp_path / "data") as up:
        family = up.family()
        os.kill(up.pid_of("bin/postgres"), signal.SIGKILL)
        code, said = up.end()
    assert not family.survivors()
    assert code == 1
    assert "postgres was ended by SIGKILL" in said
    assert str(tmp_path / "data" / "logs" / "postgres.log") in said
    assert "database system is ready" in said


def test_address_of_another_machine_is_refused_before_anything_starts(tmp_path: Path) -> None:
    command = [*UP, "--data", str(tmp_path / "data"), "--host", "192.0.2.1"]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Nothing can listen on 192.0.2.1" in ended.stderr
    assert not (tmp_path / "data").exists()
