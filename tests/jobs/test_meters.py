"""What is counted as jobs begin and end."""

import json

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, sessionmaker

from jobs import transitions
from jobs.meters import MeterRow
from jobs.states import Status
from jobs.tables import AttemptRow, JobRow
from tests.worker.desk import Desk

Sessions = sessionmaker[Session]


def counted(sessions: Sessions, name: str) -> dict[str, float]:
    """By the labels' values, in the order of the labels' names."""
    query = select(MeterRow.labels, MeterRow.value).where(MeterRow.name == f"compression_{name}")
    with sessions() as session:
        return {" ".join(json.loads(labels).values()): value for labels, value in session.execute(query)}


def begin(sessions: Sessions, job_id: str) -> None:
    """An attempt, for 100 seconds by now."""
    with sessions.begin() as session:
        row = transitions.move(
            session,
            job_id,
            Status.RUNNING,
            data={},
            attempt=JobRow.attempt + 1,
            lease_token=func.gen_random_uuid(),
            heartbeat_at=func.now() + text("interval '30 seconds'"),
        )
        assert row is not None
        started_at = func.now() - text("interval '100 seconds'")
        session.add(AttemptRow(job_id=job_id, number=row.attempt, worker="w", started_at=started_at))


def end(sessions: Sessions, job_id: str, status: Status, reason: str | None, told: str | None = None) -> None:
    with sessions.begin() as session:
        data = {"reason": told} if told else {}
        assert transitions.move(session, job_id, status, data=data, reason=reason) is not None


def test_an_attempt_and_an_end_are_counted_once(sessions: Sessions) -> None:
    desk = Desk(sessions)
    job_id = desk.submit()
    begin(sessions, job_id)
    end(sessions, job_id, Status.QUEUED, "worker_lost", "worker_lost")
    begin(sessions, job_id)
    end(sessions, job_id, Status.SUCCEEDED, None)
    other = desk.submit()
    desk.cancel(other)

    assert counted(sessions, "jobs_finished") == {"none succeeded": 1, "user_requested cancelled": 1}
    assert counted(sessions, "job_attempts") == {"worker_lost": 1, "succeeded": 1}
    assert counted(sessions, "job_lease_expired") == {"": 1}
    seconds = counted(sessions, "gpu_seconds")
    assert seconds == {"true": pytest.approx(100, abs=60), "false": pytest.approx(100, abs=60)}
    waits = counted(sessions, "queue_wait_seconds")
    assert waits.pop("sum") == pytest.approx(60, abs=60)
    assert sum(waits.values()) == 2
