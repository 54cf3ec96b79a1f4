"""A test's view of the service: jobs, processes, folders and objects."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session, sessionmaker

from app import store, verbs
from jobs import database
from jobs.settings import Settings
from jobs.specs import JobSpec
from jobs.states import Verb
from jobs.tables import DEFAULT_PROJECT, EventRow, JobRow
from worker.runner import Runner
from worker.workers import Worker

if TYPE_CHECKING:
    from mypy_boto3_s3.service_resource import Bucket


class Desk:
    """Where a test submits jobs and reads how they fare."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self.sessions = sessions

    def submit(self, *, max_attempts: int = 3, **metadata: str) -> str:
        spec = JobSpec.model_validate(
            {
                "base_model": {"source": "hub", "id": "someone/something"},
                "dataset": {"source": "file", "id": "file_1"},
                "method": {"type": "lora_prune", "ratio": 0.3},
                "metadata": metadata,
            }
        )
        with self.sessions.begin() as session:
            return store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=max_attempts).id

    def job(self, job_id: str) -> JobRow:
        with self.sessions.begin() as session:
            return store.get(session, job_id, project_id=DEFAULT_PROJECT)

    def events(self, job_id: str) -> list[EventRow]:
        with self.sessions.begin() as session:
            rows = store.events(session, job_id, project_id=DEFAULT_PROJECT, after=0, limit=10_000)
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        return rows

    def act(self, job_id: str, verb: Verb) -> None:
        with self.sessions.begin() as session:
            verbs.act(session, job_id, verb, project_id=DEFAULT_PROJECT, max_attempts=3)

    def cancel(self, job_id: str) -> None:
        self.act(job_id, Verb.CANCEL)

    def wait_for(self, job_id: str, status: str, seconds: float = 60.0) -> JobRow:
        wait_until(lambda: self.job(job_id).status == status, seconds)
        return self.job(job_id)


def work(settings: Settings, command: Sequence[str], stopping: Callable[[], bool] = lambda: False) -> bool:
    """Be a worker for one job, if there is one."""
    engine = database.engine(settings)
    try:
        runner = Runner(settings, Worker.here(settings), command=command, stopping=stopping)
        return runner.run_next(database.sessions(engine))
    finally:
        engine.dispose()


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def child(name: str) -> list[str]:
    """The command that starts one of the programs in `children`."""
    return [sys.executable, "-m", f"tests.worker.children.{name}"]


def pids(file: Path, count: int) -> list[int]:
    """The process ids that a child wrote, once there are so many."""
    wait_until(lambda: file.exists() and file.read_text().count("\n") >= count)
    return [int(line) for line in file.read_text().split()]


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def leftovers(settings: Settings) -> list[str]:
    return [path.name for path in settings.work_dir.iterdir() if path.is_dir()]


def keys(bucket: "Bucket") -> list[str]:
    return sorted(entry.key for entry in bucket.objects.all())
