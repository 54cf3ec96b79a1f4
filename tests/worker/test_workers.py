"""What a worker tells of its machine."""

import os
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from jobs.settings import Settings
from jobs.tables import WorkerRow
from worker import workers
from worker.workers import Worker

# A stand-in for the driver's own program, as its manual has its answers.
NVIDIA_SMI = """#!/bin/sh
case "$*" in
  *memory.total*) printf '81559\\n40960\\n' ;;
  *memory.used*) printf '1024\\n[N/A]\\n3\\n' ;;
esac
"""


def test_gpus_are_told_by_the_driver(
    settings: Settings, sessions: sessionmaker[Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    worker = Worker.here(settings)
    assert worker.memory_bytes == 40960 * 2**20
    with sessions.begin() as session:
        workers.seen(session, worker, "cjob_1", workers.gpu_used_bytes())
    with sessions() as session:
        row = session.get_one(WorkerRow, worker.id)
        assert (row.job_id, row.gpu_used_bytes) == ("cjob_1", [1024 * 2**20, 0, 3 * 2**20])


def test_without_a_driver_nothing_is_in_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert workers.gpu_used_bytes() == []
    assert workers.accelerator_bytes() is None
