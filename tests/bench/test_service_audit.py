"""What the audit after a round finds: nothing where all is well, and each kind of loss by its name."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

from bench import published
from bench.service import audit
from bench.service.orders import Material, Order
from jobs.files import Files, blob_key
from jobs.registry_tables import RevisionFileRow
from jobs.settings import Settings
from jobs.tables import EventRow, JobRow
from tests.worker.desk import Desk

if TYPE_CHECKING:
    from mypy_boto3_s3.service_resource import Bucket

Sessions = sessionmaker[Session]


@pytest.fixture
def order(tmp_path: Path) -> Order:
    return Material(tmp_path, tmp_path, tmp_path, "round").order(7)


@pytest.fixture
def job_id(settings: Settings, sessions: Sessions, order: Order, tmp_path: Path) -> str:
    """A job of the order that has succeeded."""
    model = tmp_path / "model"
    model.mkdir()
    for name in audit.MODEL_FILES:
        (model / name).write_text(f"the bytes of {name}")
    job_id = published.job(settings, model)
    with sessions.begin() as session:
        session.get_one(JobRow, job_id).spec = order.spec
    return job_id


def complaints(sessions: Sessions, order: Order) -> list[str]:
    with sessions() as session:
        return audit.endings(session, [order])


def broken(sessions: Sessions, settings: Settings, order: Order) -> list[str]:
    with sessions() as session:
        return audit.artifacts(session, Files(settings), [order])


def test_nothing_is_said_of_a_job_that_ended_well(
    settings: Settings, sessions: Sessions, order: Order, job_id: str
) -> None:
    assert complaints(sessions, order) == []
    assert broken(sessions, settings, order) == []


def test_a_job_that_is_not_there_or_there_twice(sessions: Sessions, order: Order) -> None:
    assert complaints(sessions, order) == ["order round-7 has 0 jobs"]
    for _ in range(2):
        Desk(sessions).submit(order="round-7")
    assert "order round-7 has 2 jobs" in complaints(sessions, order)


def test_a_job_that_ended_twice_or_otherwise(sessions: Sessions, order: Order, job_id: str) -> None:
    with sessions.begin() as session:
        session.add(EventRow(job_id=job_id, seq=4, type="failed", data={}))
        session.get_one(JobRow, job_id).status = "failed"
    said = " ".join(complaints(sessions, order))
    assert "is failed" in said
    assert "impossible way: queued running succeeded failed" in said
    assert "did not end once" in said


def test_events_with_a_gap_and_an_attempt_too_many(sessions: Sessions, order: Order, job_id: str) -> None:
    with sessions.begin() as session:
        session.add(EventRow(job_id=job_id, seq=6, type="log", data={}))
        session.get_one(JobRow, job_id).attempt = 2
    said = " ".join(complaints(sessions, order))
    assert "gaps" in said
    assert "counts 2 attempts and began 1 times" in said


def test_files_that_are_gone_changed_or_nobodys(
    settings: Settings, sessions: Sessions, order: Order, job_id: str, bucket: "Bucket"
) -> None:
    with sessions() as session:
        hashes = {row.path: row.sha256 for row in session.scalars(select(RevisionFileRow))}
    bucket.Object(blob_key(hashes["config.json"])).delete()
    bucket.Object(blob_key(hashes["model.safetensors"])).put(Body=b"The bytes of model.safetensors")
    with sessions.begin() as session:
        session.execute(delete(RevisionFileRow).where(RevisionFileRow.path == "compression_report.json"))
    said = broken(sessions, settings, order)
    assert f"{job_id}: config.json is not whole" in said
    assert f"{job_id}: model.safetensors is not whole" in said
    assert f"{job_id}: published only ['config.json', 'model.safetensors']" in said
    with sessions.begin() as session:
        session.get_one(JobRow, job_id).status = "failed"
    assert f"{job_id}: is failed and published 2 files" in broken(sessions, settings, order)
