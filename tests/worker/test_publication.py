"""A checkpoint becomes a model by a job of its own, whatever becomes of the job that has written it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, text, update

from app import publication
from jobs.errors import NotFound
from jobs.files import Files
from jobs.settings import Settings
from jobs.specs import JobSpec
from jobs.states import Verb
from jobs.tables import DEFAULT_PROJECT, CheckpointRow, FileRow, JobRow
from tests.worker.desk import Desk, child, keys, work
from tests.worker.elsewhere import Elsewhere
from tests.worker.training_job import TrainingJob
from worker import collect, depot, leases

if TYPE_CHECKING:
    from mypy_boto3_s3.service_resource import Bucket


@pytest.fixture(autouse=True)
def text_of_the_jobs(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        session.add(FileRow(id="file_1", project_id=DEFAULT_PROJECT, name="a.txt", bytes=1, sha256=""))


def publish(desk: Desk, settings: Settings, job_id: str, number: int) -> str:
    spec = JobSpec.model_validate(desk.job(job_id).spec)
    with desk.sessions.begin() as session:
        return publication.create(
            session, job_id, number, spec, project_id=DEFAULT_PROJECT, settings=settings, plan=None
        ).id


def objects(bucket: "Bucket", job_id: str) -> list[str]:
    return [key for key in keys(bucket) if key.startswith(f"jobs/{job_id}/") and "/checkpoints/" in key]


def test_a_checkpoint_stays_until_it_is_published_although_its_job_has_dropped_it_and_is_gone(
    quick: Settings, desk: Desk, tmp_path: Path, elsewhere: Elsewhere, engine: Engine, bucket: "Bucket"
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=8, until=2)
    made: list[str] = []

    def one_by_one() -> None:
        job.wait_for_checkpoint(2)
        number = job.saved.index(2) + 1
        made.append(publish(desk, quick, job.id, number))
        for step in range(3, 8):
            job.let(step)
            job.wait_for_checkpoint(step)
        with pytest.raises(NotFound, match=f"has no checkpoint {number}"):
            publish(desk, quick, job.id, number)

    elsewhere.do(one_by_one, lambda: desk.cancel(job.id))
    work(quick, child("trains"))
    assert desk.job(job.id).status == "cancelled"
    with desk.sessions.begin() as session:
        session.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": job.id})
    impatient = quick.model_copy(update={"orphan_grace_seconds": 0.0})
    collect.collect(engine, impatient)

    (publisher,) = made
    work(quick, child("trains"))

    row = desk.job(publisher)
    assert row.result is not None
    assert (row.status, row.result["last_step"]) == ("succeeded", 2)
    assert row.from_checkpoint is not None
    assert (row.from_checkpoint["job_id"], row.from_checkpoint["step"]) == (job.id, 2)
    assert job.trained == [1, 2, 3, 4, 5, 6, 7]
    assert objects(bucket, job.id)
    with desk.sessions.begin() as session:
        session.execute(update(CheckpointRow).where(CheckpointRow.job_id == publisher).values(deleted_at=text("now()")))
    collect.collect(engine, impatient)
    assert not objects(bucket, job.id)


def test_what_the_publisher_drops_stays_for_the_job_that_has_written_it(
    quick: Settings, desk: Desk, tmp_path: Path, elsewhere: Elsewhere, bucket: "Bucket"
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=8, until=2)
    elsewhere.do(lambda: job.wait_for_checkpoint(2), lambda: desk.act(job.id, Verb.PAUSE))
    work(quick, child("trains"))
    before = objects(bucket, job.id)
    publisher = publish(desk, quick, job.id, len(job.saved))
    with desk.sessions() as session:
        depot.remove(Files(quick), [session.get_one(CheckpointRow, (publisher, 1))], [])
    desk.cancel(publisher)
    with desk.sessions.begin() as session:
        session.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": publisher})
    assert objects(bucket, job.id) == before
    desk.act(job.id, Verb.RESUME)
    job.let(8)
    work(quick, child("trains"))
    assert (desk.job(job.id).status, job.trained) == ("succeeded", [*range(1, 9)])


def test_a_publisher_that_is_asked_to_begin_anew_begins_at_the_checkpoint(
    quick: Settings, desk: Desk, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=8, until=2)
    elsewhere.do(lambda: job.wait_for_checkpoint(2), lambda: desk.act(job.id, Verb.PAUSE))
    work(quick, child("trains"))
    publisher = publish(desk, quick, job.id, len(job.saved))
    desk.cancel(publisher)
    desk.act(publisher, Verb.RETRY)
    with desk.sessions.begin() as session:
        claim = leases.claim(session, publisher, "worker", 60)
    assert claim is not None
    assert (claim.first_attempt, claim.finish, claim.only_publishes) == (0, True, True)
    with desk.sessions.begin() as session:
        assert leases.beat(session, claim, 60) == leases.Orders(cancel=False, finish=True)
        assert leases.release(session, claim, "worker_stopped")
    work(quick, child("trains"))
    row = desk.job(publisher)
    assert row.result is not None
    assert (row.status, row.result["last_step"], job.trained) == ("succeeded", 2, [1, 2])


def test_a_broken_checkpoint_is_not_made_up_for_by_training(
    quick: Settings, desk: Desk, tmp_path: Path, elsewhere: Elsewhere, bucket: "Bucket"
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=8, until=2)
    elsewhere.do(lambda: job.wait_for_checkpoint(2), lambda: desk.act(job.id, Verb.PAUSE))
    work(quick, child("trains"))
    publisher = publish(desk, quick, job.id, len(job.saved))
    with desk.sessions() as session:
        weights = session.get_one(CheckpointRow, (publisher, 1)).files["weights"]["sha256"]
    bucket.Object(f"jobs/{job.id}/attempts/1/checkpoints/{weights}").put(Body=os.urandom(100_000))
    work(quick, child("trains"))
    row: JobRow = desk.job(publisher)
    assert row.error is not None
    assert (row.status, row.error["code"]) == ("failed", "checkpoint_lost")
    assert "weights is not what was put there" in row.error["message"]
    assert job.trained == [1, 2]
