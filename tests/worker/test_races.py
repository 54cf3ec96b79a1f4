"""What may come at the wrong moment: a cancel before the engine starts, a restarted database, a wiped broker, a clock
that is wrong."""

import fcntl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
import time_machine
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from cli.stack import Servers
from jobs.settings import Settings
from jobs.tables import EventRow, JobRow
from tests.worker.desk import Desk, child, leftovers, pids, wait_until, work
from tests.worker.elsewhere import Elsewhere
from tests.worker.test_service import Service, waiting_messages
from worker import reaper, workdir

Sessions = sessionmaker[Session]


def test_a_cancel_between_claim_and_start_is_heard(
    quick: Settings, desk: Desk, started: Path, elsewhere: Elsewhere
) -> None:
    job_id = desk.submit(started=str(started))
    quick.work_dir.mkdir(parents=True)
    with (quick.work_dir / workdir.LOCK).open("w") as gate:
        # Every attempt takes this lock between its claim and its folder.
        fcntl.flock(gate, fcntl.LOCK_EX)
        elsewhere.do(
            lambda: wait_until(lambda: desk.job(job_id).status == "running"),
            lambda: desk.cancel(job_id),
            lambda: fcntl.flock(gate, fcntl.LOCK_UN),
        )
        work(quick, child("hangs"))
    job = desk.job(job_id)
    assert (job.status, job.reason, job.attempt) == ("cancelled", "user_requested", 1)
    assert leftovers(quick) == []


def test_a_job_runs_on_through_a_restart_of_the_database(
    environment: dict[str, str], servers: Servers, desk: Desk, started: Path, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    job_id = desk.submit(started=str(started), wait_for=str(go_on))
    patient = Service(environment | {"PRUNERY_LEASE_SECONDS": "90"}, tmp_path)
    try:
        patient.relay()
        patient.worker("succeeds")
        pids(started, 1)
        beaten = desk.job(job_id).heartbeat_at
        servers.processes["postgres"].kill()
        servers.restart("postgres")
        servers.wait_for("postgres")
        wait_until(lambda: desk.job(job_id).heartbeat_at != beaten)
        go_on.touch()
        assert desk.wait_for(job_id, "succeeded").attempt == 1
    finally:
        patient.end()
    assert len(pids(started, 1)) == 1


def test_every_job_of_a_wiped_broker_runs(
    environment: dict[str, str], settings: Settings, desk: Desk, tmp_path: Path
) -> None:
    service = Service(environment | {"PRUNERY_PULL_SECONDS": "1"}, tmp_path)
    try:
        service.relay()
        jobs = [desk.submit() for _ in range(5)]
        wait_until(lambda: waiting_messages(settings) >= len(jobs))
        with redis.Redis.from_url(settings.broker_url.get_secret_value()) as broker:
            broker.flushall()
        service.worker("succeeds")
        assert [desk.wait_for(job_id, "succeeded").attempt for job_id in jobs] == [1] * 5
    finally:
        service.end()


@pytest.mark.parametrize("minutes", [-10, 10])
def test_the_clock_of_a_worker_means_nothing(
    minutes: int, quick: Settings, desk: Desk, sessions: Sessions, started: Path, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    go_on = tmp_path / "go on"
    job_id = desk.submit(started=str(started), wait_for=str(go_on))
    with sessions() as session:
        began = session.scalar(select(func.clock_timestamp()))
    reaped: list[int] = []

    def reap() -> None:
        with sessions.begin() as session:
            left = session.scalar(select(JobRow.lease_expires_at - func.clock_timestamp()))
            assert left is not None
            assert timedelta(0) < left <= timedelta(seconds=quick.lease_seconds)
            reaped.append(reaper.settle(session, quick))

    elsewhere.do(lambda: pids(started, 1), reap, go_on.touch)
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes)):
        work(quick, child("succeeds"))
    assert reaped == [0]
    with sessions() as session:
        ended = session.scalar(select(func.clock_timestamp()))
        job = session.get_one(JobRow, job_id)
        times = [job.created_at, job.queued_at, job.started_at, job.heartbeat_at, job.progress_at, job.finished_at]
        times += session.scalars(select(EventRow.at))
    assert (job.status, job.attempt) == ("succeeded", 1)
    assert all(time is not None and began - timedelta(seconds=5) <= time <= ended for time in times), times
