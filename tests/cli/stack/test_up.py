"""`prunery up` as its users see it: it comes up, it ends as a whole, and it says why."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from cli.stack.ports import LOOPBACK
from tests.cli.stack.family import Family, command_line
from tests.cli.stack.holder import CHECKOUT

UP = [sys.executable, "-c", "from cli.main import main; main()", "up"]
STRAY = "A_SECRET_OF_SOMEONE_ELSE"


class Supervisor:
    """A running `prunery up`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.process = process
        self.greeting = ""
        for line in process.stdout:
            self.greeting += line
            if "Ctrl-C" in line:
                break
        self.family = Family(process.pid)

    def pid_of(self, words: str) -> int:
        """The first process, from the top, whose command line holds these words."""
        return next(pid for pid in self.family.pids if words in command_line(pid))

    def end(self) -> tuple[int, str]:
        """Its exit code and what it said at last; everything it had started is gone by then."""
        said, complaint = self.process.communicate(timeout=120)
        assert not self.family.survivors()
        return self.process.returncode, said + complaint


@contextmanager
def supervising(data: Path, *options: str) -> Iterator[Supervisor]:
    process = subprocess.Popen(
        [*UP, "--data", str(data), *options],
        cwd=CHECKOUT,
        env=os.environ | {STRAY: "1", "PRUNERY_API_KEY": "of-another-service", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Supervisor(process)
    finally:
        process.kill()
        process.communicate()


def test_comes_up_beside_a_taken_port_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with supervising(tmp_path / "data", "--port", str(port)) as up:
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
            assert not [pid for pid in up.family.pids if STRAY in Path(f"/proc/{pid}/environ").read_text()]

            second = subprocess.run(
                [*UP, "--data", str(tmp_path / "data")], cwd=CHECKOUT, capture_output=True, text=True, check=False
            )
            assert second.returncode == 1
            assert f"already runs on {tmp_path / 'data'} (process {up.process.pid})" in second.stderr

            up.process.send_signal(signal.SIGINT)
            code, said = up.end()
            assert code == 0, said
            assert not file.exists()


@pytest.mark.parametrize(("part", "words"), [("worker-1", "celery"), ("postgres", "bin/postgres")])
def test_a_part_that_dies_ends_all_and_is_named(tmp_path: Path, part: str, words: str) -> None:
    with supervising(tmp_path / "data") as up:
        os.kill(up.pid_of(words), signal.SIGKILL)
        code, said = up.end()
    assert code == 1
    assert f"{part} was ended by SIGKILL" in said
    assert str(tmp_path / "data" / "logs" / f"{part}.log") in said
    assert "ready" in said, "the last lines of its log are shown"


def test_killed_without_warning_leaves_nothing(tmp_path: Path) -> None:
    with supervising(tmp_path / "data") as up:
        up.process.kill()
        up.process.wait()
        up.family.wait_until_gone()


def test_address_of_another_machine_is_refused_before_anything_starts(tmp_path: Path) -> None:
    command = [*UP, "--data", str(tmp_path / "data"), "--host", "192.0.2.1"]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Nothing can listen on 192.0.2.1" in ended.stderr
    assert not (tmp_path / "data").exists()
