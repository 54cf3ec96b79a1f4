"""The workers as rows: who is there, what a job may take of each, and what each works on. Never commits."""

import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from jobs.settings import Settings
from jobs.tables import WorkerRow

FORGOTTEN_AFTER = timedelta(days=1)
ASK_GPU = ("nvidia-smi", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Worker:
    """One worker process. Its id is never used again: who starts under the same name is another."""

    id: str
    host: str
    memory_bytes: int  # what a job may take
    gpu_class: str | None
    project_max_running: int | None = None  # jobs of a project at once, where it has no limit of its own

    @classmethod
    def here(cls, settings: Settings) -> "Worker":
        host = socket.gethostname()
        return cls(
            f"{host}:{os.getpid()}:{uuid4().hex[:8]}",
            host,
            settings.worker_memory_bytes or accelerator_bytes() or _host_bytes(),
            settings.gpu_class,
            settings.project_max_running,
        )


def accelerator_bytes() -> int | None:
    """Memory of the smallest GPU that the driver knows of, or None."""
    return min(filter(None, _ask_gpus("memory.total", seconds=30)), default=None)


def gpu_used_bytes() -> list[int]:
    """Memory that is in use on each GPU of the machine."""
    return _ask_gpus("memory.used", seconds=5)


def _ask_gpus(what: str, *, seconds: float) -> list[int]:
    """Bytes by GPU, 0 where the driver does not know; no CUDA comes into this process."""
    command = [*ASK_GPU, f"--query-gpu={what}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [int(line) * 2**20 if line.isdecimal() else 0 for line in answer.stdout.split()]


def seen(
    session: Session,
    worker: Worker,
    job_id: str | None = None,
    used_bytes: Sequence[int] = (),
    fault: str | None = None,
) -> None:
    """Note that the worker is there, what it works on, how much of each GPU is in use, and why it takes no jobs."""
    values = {
        "host": worker.host,
        "memory_bytes": worker.memory_bytes,
        "gpu_class": worker.gpu_class,
        "job_id": job_id,
        "gpu_used_bytes": list(used_bytes),
        "fault": fault,
        "seen_at": func.now(),
    }
    statement = insert(WorkerRow).values(id=worker.id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=[WorkerRow.id], set_=values))


def left(session: Session, worker: Worker) -> None:
    """Note that the worker is no more."""
    session.execute(delete(WorkerRow).where(WorkerRow.id == worker.id))


def forget(session: Session) -> None:
    """Drop those that were not seen for long."""
    session.execute(delete(WorkerRow).where(WorkerRow.seen_at < func.now() - FORGOTTEN_AFTER))


def _host_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
