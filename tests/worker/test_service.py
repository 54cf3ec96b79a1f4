"""Real worker processes on a real broker: what they do when they are told to end, killed, or told twice."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis
from sqlalchemy import func, select

from jobs.settings import Settings
from jobs.tables import OutboxRow, WorkerRow
from tests.worker.desk import Desk, is_running, leftovers, pids, wait_until
from tests.worker.training_job import TrainingJob
from tests.worker.wire import Wire
from worker import queue

ROOT = Path(__file__).parents[2]


class Service:
    """Worker and relay processes of one test."""

    def __init__(self, environment: dict[str, str], logs: Path) -> None:
        self._environment = {
            **os.environ,
            "PRUNERY_HEARTBEAT_SECONDS": "0.3",
            "PRUNERY_LEASE_SECONDS": "3",
            "PRUNERY_REAP_SECONDS": "0.5",
            "PRUNERY_RELAY_SECONDS": "0.1",
            "PRUNERY_PULL_SECONDS": "1",
            "PRUNERY_CANCEL_GRACE_SECONDS": "0.5",
            "PRUNERY_CHECKPOINT_GRACE_SECONDS": "0.5",
            **environment,
        }
        self._logs = logs
        self._processes: list[subprocess.Popen[bytes]] = []

    def relay(self) -> None:
        self._start([sys.executable, "-m", "worker.relay"], {}, "relay")

    def worker(self, engine: str) -> subprocess.Popen[bytes]:
        """A worker that is ready; `engine` is one of the programs in `children`."""
        options = ["-P", "solo", "-Q", "jobs", "--without-mingle", "--without-gossip", "-l", "INFO"]
        command = [sys.executable, "-m", "celery", "-A", "tests.worker.scripted:celery", "worker", *options]
        name = f"worker-{len(self._processes)}"
        process = self._start([*command, "-n", f"{name}@%h"], {"PRUNERY_TEST_CHILD": engine}, name)
        wait_until(lambda: " ready." in self.log(name) or process.poll() is not None, 60)
        assert process.poll() is None, self.log(name)
        return process

    def log(self, name: str) -> str:
        return (self._logs / name).read_text()

    def _start(self, command: list[str], changes: dict[str, str], name: str) -> subprocess.Popen[bytes]:
        with (self._logs / name).open("wb") as log:
            process = subprocess.Popen(
                command, env=self._environment | changes, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def service(environment: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    service = Service(environment, tmp_path)
    yield service
    service.end()


def waiting_messages(settings: Settings) -> int:
    with Redis.from_url(settings.broker_url.get_secret_value()) as broker:
        return len(broker.lrange("prunery:jobs", 0, -1))


def workers_of(desk: Desk) -> list[WorkerRow]:
    with desk.sessions.begin() as session:
        return list(session.scalars(select(WorkerRow)))


def unsent(desk: Desk) -> int:
    with desk.sessions.begin() as session:
        return session.scalar(select(func.count()).select_from(OutboxRow)) or 0


def test_a_worker_told_to_end_gives_its_job_back_and_another_finishes_it(
    service: Service, settings: Settings, desk: Desk, started: Path
) -> None:
    service.relay()
    job_id = desk.submit(started=str(started))
    first = service.worker("hangs")
    engines = pids(started, 2)
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0
    assert not any(map(is_running, engines))
    job = desk.job(job_id)
    assert (job.status, job.reason) == ("queued", "worker_stopped")
    assert leftovers(settings) == []
    service.worker("succeeds")
    assert desk.wait_for(job_id, "succeeded").attempt == 2


def test_a_job_whose_worker_is_killed_is_finished_by_another(
    service: Service, settings: Settings, desk: Desk, started: Path
) -> None:
    service.relay()
    job_id = desk.submit(started=str(started))
    first = service.worker("hangs")
    engine, grandchild = pids(started, 2)
    first.kill()
    wait_until(lambda: not is_running(engine), 5)
    os.kill(grandchild, signal.SIGKILL)
    service.worker("succeeds")
    job = desk.wait_for(job_id, "succeeded")
    assert (job.attempt, job.max_attempts) == (2, 4)
    assert leftovers(settings) == []
    lost = [event.data for event in desk.events(job_id) if event.type == "queued"][-1]
    assert lost["reason"] == "worker_lost"


def test_a_job_whose_worker_is_killed_goes_on_from_its_checkpoint_with_another(
    service: Service, settings: Settings, desk: Desk, tmp_path: Path
) -> None:
    service.relay()
    job = TrainingJob(desk, tmp_path / "job", steps=6, until=2)
    first = service.worker("trains")
    job.wait_for_checkpoint(2)
    job.let(3)
    job.wait_for_step(3)
    engine = job.engine()
    first.kill()
    wait_until(lambda: not is_running(engine), 10)
    job.let(6)
    service.worker("trains")
    assert desk.wait_for(job.id, "succeeded").attempt == 2
    assert job.trained in ([1, 2, 3, 4, 5, 6], [1, 2, 3, 3, 4, 5, 6]), "no more than one interval is trained again"
    assert leftovers(settings) == []


def test_ten_doorbells_start_one_attempt_each_and_jobs_run_one_at_a_time(
    service: Service, settings: Settings, desk: Desk, started: Path
) -> None:
    jobs = [desk.submit(started=str(started)) for _ in range(3)]
    sender = queue.application(settings)
    for job_id in jobs * 10:
        queue.send(sender, job_id)
    service.worker("succeeds")
    ended = [desk.wait_for(job_id, "succeeded") for job_id in jobs]
    wait_until(lambda: waiting_messages(settings) == 0, 20)
    assert [job.attempt for job in ended] == [1, 1, 1]
    assert len(pids(started, 3)) == 3
    spans = sorted((job.started_at, job.finished_at) for job in ended if job.started_at and job.finished_at)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_jobs_are_found_and_run_without_the_broker_and_the_doorbell_is_heard_again_once_it_is_back(
    environment: dict[str, str], settings: Settings, desk: Desk, started: Path, tmp_path: Path
) -> None:
    url = settings.broker_url.get_secret_value()
    port = urlsplit(url).port or 0
    wire = Wire(port)
    service = Service(environment | {"PRUNERY_BROKER_URL": url.replace(f":{port}", f":{wire.port}")}, tmp_path)
    go_on = tmp_path / "go on"
    try:
        service.relay()
        worker = service.worker("succeeds")
        running = desk.submit(started=str(started), wait_for=str(go_on))
        pids(started, 1)
        wire.cut()
        waiting = desk.submit()
        go_on.touch()
        assert desk.wait_for(running, "succeeded").attempt == 1
        assert desk.wait_for(waiting, "succeeded").attempt == 1
        wire.mend()
        wait_until(lambda: waiting_messages(settings) == 0 and not unsent(desk))
        assert desk.wait_for(desk.submit(), "succeeded").attempt == 1
        assert worker.poll() is None
    finally:
        service.end()
        wire.close()


def test_a_worker_is_seen_with_what_it_does_until_it_ends(service: Service, desk: Desk, started: Path) -> None:
    job_id = desk.submit(started=str(started))
    worker = service.worker("hangs")
    pids(started, 2)
    wait_until(lambda: [row.job_id for row in workers_of(desk)] == [job_id])
    (row,) = workers_of(desk)
    assert row.memory_bytes > 10**8
    assert desk.job(job_id).lease_owner == row.id
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert workers_of(desk) == []


def test_no_process_of_a_worker_holds_torch(service: Service, desk: Desk, started: Path) -> None:
    job_id = desk.submit(started=str(started))
    service.relay()
    worker = service.worker("hangs")
    pids(started, 2)
    assert "torch" not in Path(f"/proc/{worker.pid}/maps").read_text()
    desk.cancel(job_id)
    desk.wait_for(job_id, "cancelled", 10)


@pytest.mark.parametrize("module", ["worker.main", "worker.relay", "migrations.env"])
def test_no_service_imports_torch(module: str, environment: dict[str, str]) -> None:
    code = f"import sys; import {module}; sys.exit('torch' in sys.modules)"
    if module == "migrations.env":
        code = "import sys; from migrations.__main__ import main; main(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, cwd=ROOT, check=True, timeout=60)
