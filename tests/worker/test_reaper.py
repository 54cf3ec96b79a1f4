"""What becomes of jobs whose worker is gone, silent or late, on a real database and its clock."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from jobs.settings import Settings
from jobs.states import Verb
from tests.worker.desk import Desk
from worker import leases, reaper
from worker.leases import Claim

Sessions = sessionmaker[Session]


@pytest.fixture
def strict(settings: Settings) -> Settings:
    """No attempt is free."""
    return settings.model_copy(update={"max_free_attempts": 0})


def claim(desk: Desk, job_id: str, lease_seconds: float = 30.0) -> Claim:
    with desk.sessions.begin() as session:
        claimed = leases.claim(session, job_id, "worker-1", lease_seconds)
    assert claimed is not None
    return claimed


def reap(desk: Desk, settings: Settings) -> int:
    with desk.sessions.begin() as session:
        return reaper.settle(session, settings)


def back_in_time(desk: Desk, job_id: str, *columns: str, seconds: float) -> None:
    """As if what these columns note had happened so long ago."""
    changes = ", ".join(f"{column} = {column} - make_interval(secs => :seconds)" for column in columns)
    with desk.sessions.begin() as session:
        session.execute(text(f"UPDATE jobs SET {changes} WHERE id = :id"), {"id": job_id, "seconds": seconds})


def test_a_lost_job_is_tried_as_often_as_allowed_and_then_fails(strict: Settings, desk: Desk) -> None:
    job_id = desk.submit(max_attempts=2)
    claim(desk, job_id, lease_seconds=0)
    assert reap(desk, strict) == 1
    assert (desk.job(job_id).status, desk.job(job_id).reason) == ("queued", "worker_lost")
    claim(desk, job_id, lease_seconds=0)
    assert reap(desk, strict) == 1
    row = desk.job(job_id)
    assert (row.status, row.reason, row.attempt) == ("failed", "worker_lost", 2)
    assert row.error is not None
    assert (row.error["code"], row.error["retryable"], row.error["phase"]) == ("worker_lost", True, "preparing")
    assert reap(desk, strict) == 0


def test_attempts_that_end_with_their_worker_are_free_for_a_while(settings: Settings, desk: Desk) -> None:
    limited = settings.model_copy(update={"max_free_attempts": 2})
    job_id = desk.submit(max_attempts=1)
    for _ in range(2):
        claim(desk, job_id, lease_seconds=0)
        assert reap(desk, limited) == 1
        assert desk.job(job_id).status == "queued"
    claim(desk, job_id, lease_seconds=0)
    reap(desk, limited)
    assert (desk.job(job_id).status, desk.job(job_id).attempt) == ("failed", 3)


@pytest.mark.parametrize(("verb", "status"), [(Verb.CANCEL, "cancelled"), (Verb.PAUSE, "paused")])
def test_a_lost_job_that_was_to_stop_has_stopped(verb: Verb, status: str, settings: Settings, desk: Desk) -> None:
    job_id = desk.submit()
    claim(desk, job_id, lease_seconds=0)
    desk.act(job_id, verb)
    assert reap(desk, settings) == 1
    assert desk.job(job_id).status == status


@pytest.mark.parametrize(
    ("verb", "column", "status"),
    [(Verb.CANCEL, "cancel_requested_at", "cancelled"), (Verb.PAUSE, "pause_requested_at", "paused")],
)
def test_a_worker_that_does_not_stop_is_not_waited_for(
    verb: Verb, column: str, status: str, settings: Settings, desk: Desk
) -> None:
    job_id = desk.submit()
    held = claim(desk, job_id)
    desk.act(job_id, verb)
    assert reap(desk, settings) == 0
    back_in_time(desk, job_id, column, seconds=1000)
    assert reap(desk, settings) == 1
    assert desk.job(job_id).status == status
    with desk.sessions.begin() as session:
        assert leases.beat(session, held, 30) is None


def test_a_living_lease_is_left_alone(settings: Settings, desk: Desk) -> None:
    job_id = desk.submit()
    claim(desk, job_id)
    assert reap(desk, settings) == 0
    assert desk.job(job_id).status == "running"


def test_an_engine_that_says_nothing_loses_its_job_though_its_supervisor_lives(settings: Settings, desk: Desk) -> None:
    job_id = desk.submit()
    held = claim(desk, job_id)
    back_in_time(desk, job_id, "heard_at", seconds=settings.stall_seconds - 60)
    assert reap(desk, settings) == 0
    back_in_time(desk, job_id, "heard_at", seconds=120)
    assert reap(desk, settings) == 1
    assert (desk.job(job_id).status, desk.job(job_id).reason) == ("queued", "stalled")
    with desk.sessions.begin() as session:
        assert leases.beat(session, held, 30) is None


def test_slow_steps_are_no_silence(settings: Settings, desk: Desk) -> None:
    job_id = desk.submit()
    held = claim(desk, job_id)
    with desk.sessions.begin() as session:  # steps of 300 s
        assert leases.progress(session, held, "pruning", {"step": 10, "total_steps": 20, "eta_seconds": 3000.0})
    back_in_time(desk, job_id, "heard_at", seconds=5900)
    assert reap(desk, settings) == 0
    back_in_time(desk, job_id, "heard_at", seconds=200)
    assert reap(desk, settings) == 1


@pytest.mark.parametrize("status", ["queued", "running", "paused"])
def test_a_job_that_is_not_done_by_its_deadline_fails(status: str, settings: Settings, desk: Desk) -> None:
    job_id = desk.submit()
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET deadline_at = now() + interval '1 h' WHERE id = :id"), {"id": job_id})
    if status == "running":
        claim(desk, job_id)
    elif status == "paused":
        desk.act(job_id, Verb.PAUSE)
    assert reap(desk, settings) == 0
    back_in_time(desk, job_id, "deadline_at", seconds=3601)
    assert reap(desk, settings) == 1
    row = desk.job(job_id)
    assert (row.status, row.reason) == ("failed", "deadline_exceeded")
    assert reap(desk, settings) == 0


def test_the_time_of_all_attempts_counts_together(settings: Settings, desk: Desk) -> None:
    job_id = desk.submit()
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET max_runtime_seconds = 100 WHERE id = :id"), {"id": job_id})
    for _ in range(2):
        held = claim(desk, job_id)
        with desk.sessions.begin() as session:
            session.execute(
                text("UPDATE job_attempts SET started_at = started_at - interval '60 s' WHERE ended_at IS NULL")
            )
        if held.attempt == 1:
            assert reap(desk, settings) == 0
            with desk.sessions.begin() as session:
                assert leases.release(session, held, "worker_stopped")
    assert reap(desk, settings) == 1
    assert (desk.job(job_id).status, desk.job(job_id).reason) == ("failed", "max_runtime_exceeded")
