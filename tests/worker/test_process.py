"""The engine's process is heard to its last word, and ended with all that it started."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.worker.desk import child, is_running, pids, wait_until
from worker.process import EngineProcess, Line


def command(tmp_path: Path, code: str) -> list[str]:
    script = tmp_path / "child.py"
    script.write_text("import os, sys, time, signal\nfd = int(sys.argv[2])\n" + code)
    return [sys.executable, str(script)]


def listen_to_the_end(engine: EngineProcess) -> list[Line]:
    lines = []
    end = time.monotonic() + 30
    while not engine.exited():
        assert time.monotonic() < end
        lines += engine.listen(0.2)
    engine.kill()
    return lines + engine.drain()


def test_lines_of_both_pipes_arrive_whole_and_in_order(tmp_path: Path) -> None:
    code = """
os.write(fd, b'{"a":'); time.sleep(0.3); os.write(fd, b' 1}\\n{"b": 2}\\nlast')
os.write(1, b"one\\n"); os.write(2, b"two\\r\\nthree")
sys.exit(5)
"""
    with EngineProcess(command(tmp_path, code), os.environ) as engine:
        lines = listen_to_the_end(engine)
        assert engine.kill() == 5
    assert [line.text for line in lines if line.source == "events"] == ['{"a": 1}', '{"b": 2}', "last"]
    assert [line.text for line in lines if line.source == "output"] == ["one", "two", "three"]


def test_a_progress_bar_is_one_line_and_an_endless_line_is_cut(tmp_path: Path) -> None:
    code = """
for percent in range(101): os.write(2, b"\\r%d%%" % percent)
os.write(2, b"\\n" + b"x" * 300_000 + b"\\nend\\n")
"""
    with EngineProcess(command(tmp_path, code), os.environ) as engine:
        lines = [line.text for line in listen_to_the_end(engine)]
    assert lines == ["100%", "x" * 4096, "end"]


def test_a_process_that_ignores_term_is_killed_with_its_children(tmp_path: Path) -> None:
    spec, started = tmp_path / "spec.json", tmp_path / "pids"
    spec.write_text(json.dumps({"metadata": {"started": str(started)}}))
    with EngineProcess([*child("hangs"), "--spec", str(spec), "--out", str(tmp_path)], os.environ) as engine:
        both = pids(started, 2)
        engine.stop(grace_seconds=0.5)
        assert engine.kill() == -signal.SIGKILL
    wait_until(lambda: not any(map(is_running, both)), 5)


def test_a_process_that_ends_leaves_no_children(tmp_path: Path) -> None:
    started = tmp_path / "pids"
    code = f"""
import subprocess
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1e6)"])
open({str(started)!r}, "w").write(f"{{left.pid}}\\n")
"""
    with EngineProcess(command(tmp_path, code), os.environ) as engine:
        listen_to_the_end(engine)
        assert engine.kill() == 0
    (left,) = pids(started, 1)
    wait_until(lambda: not is_running(left), 5)


def test_a_program_that_cannot_be_started_leaves_no_descriptor() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        EngineProcess(["/nowhere/engine"], os.environ)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_an_engine_dies_with_its_supervisor(tmp_path: Path) -> None:
    spec, started = tmp_path / "spec.json", tmp_path / "pids"
    spec.write_text(json.dumps({"metadata": {"started": str(started)}}))
    code = f"""
import os, time
from worker.process import EngineProcess
engine = EngineProcess({[*child("hangs"), "--spec", str(spec), "--out", str(tmp_path)]!r}, os.environ)
time.sleep(1e6)
"""
    supervisor = subprocess.Popen([sys.executable, "-c", code])
    engine, grandchild = pids(started, 2)
    supervisor.kill()
    supervisor.wait()
    wait_until(lambda: not is_running(engine), 5)
    os.kill(grandchild, signal.SIGKILL)


def test_an_engine_whose_supervisor_is_gone_before_it_begins_does_not_begin(tmp_path: Path) -> None:
    environment = {**os.environ, "PRUNERY_SUPERVISOR": "1"}
    code = "from worker.process import die_with_parent; die_with_parent(); print('still here')"
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"")
