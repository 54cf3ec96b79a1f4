"""Checkpoints leave for object storage while the engine works, and an attempt goes on from the newest whole one."""

import hashlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from app import store
from jobs.settings import Settings
from jobs.states import Verb
from jobs.tables import DEFAULT_PROJECT, AttemptRow, CheckpointRow
from tests.worker.desk import Desk, child, is_running, keys, leftovers, wait_until, work
from tests.worker.elsewhere import Elsewhere
from tests.worker.training_job import TrainingJob
from worker import leases, saved
from worker.depot import Stored

if TYPE_CHECKING:
    from mypy_boto3_s3.service_resource import Bucket


def checkpoints(desk: Desk, job_id: str) -> list[CheckpointRow]:
    with desk.sessions.begin() as session:
        query = select(CheckpointRow).where(CheckpointRow.job_id == job_id).order_by(CheckpointRow.number)
        return list(session.scalars(query))


def attempts(desk: Desk, job_id: str) -> list[AttemptRow]:
    with desk.sessions.begin() as session:
        return store.attempts(session, job_id, project_id=DEFAULT_PROJECT)


def told(desk: Desk, job_id: str, type: str) -> list[dict[str, Any]]:
    return [event.data for event in desk.events(job_id) if event.type == type]


def test_a_checkpoint_that_may_hold_the_fault_is_given_up_for_the_one_before(desk: Desk) -> None:
    job_id = desk.submit()
    with desk.sessions.begin() as session:
        claim = leases.claim(session, job_id, "worker", 60)
        assert claim is not None
        for step in (10, 20):
            stored = Stored(f"key-{step}", "0" * 64, {}, step, "pruning", 0.1, 20.0)
            assert saved.record(session, claim, stored, resumed_from=None) is not None
            assert saved.give_up_last(session, claim)  # nothing at first: there is none before it
        assert [row.step for row in saved.usable(session, claim)] == [10]
    (warning,) = told(desk, job_id, "log")
    assert "step 20" in warning["message"]


def test_a_paused_job_lets_its_worker_go_and_goes_on_from_where_it_was(
    quick: Settings, desk: Desk, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=6, until=3)
    elsewhere.do(lambda: job.wait_for_step(3), lambda: desk.act(job.id, Verb.PAUSE))
    work(quick, child("trains"))
    row = desk.job(job.id)
    assert (row.status, row.reason, row.lease_token) == ("paused", "user_requested", None)
    assert not is_running(job.engine())
    assert leftovers(quick) == []
    assert [row.step for row in checkpoints(desk, job.id) if row.deleted_at is None][-1] == 3

    desk.act(job.id, Verb.RESUME)
    job.let(6)
    work(quick, child("trains"))
    row = desk.job(job.id)
    assert row.result is not None
    assert (row.status, row.result["last_step"]) == ("succeeded", 6)
    assert job.trained == [1, 2, 3, 4, 5, 6]
    (resumed,) = told(desk, job.id, "resumed")
    assert (resumed["step"], resumed["attempt"], resumed["lost_steps"]) == (3, 1, 0)
    assert [(row.number, row.outcome, row.resumed_step) for row in attempts(desk, job.id)] == [
        (1, "paused", None),
        (2, "succeeded", 3),
    ]


def test_three_checkpoints_stay_and_nothing_else_of_them(
    quick: Settings, desk: Desk, tmp_path: Path, elsewhere: Elsewhere, bucket: "Bucket"
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=7)

    def one_by_one() -> None:
        for step in range(1, 7):
            job.let(step)
            job.wait_for_checkpoint(step)

    elsewhere.do(one_by_one, lambda: desk.act(job.id, Verb.PAUSE))
    work(quick, child("trains"))
    rows = checkpoints(desk, job.id)
    assert [(row.number, row.step, row.deleted_at is None) for row in rows] == [
        (number, number, number > 3) for number in range(1, 7)
    ]
    alive = [row for row in rows if row.deleted_at is None]
    folder = f"jobs/{job.id}/attempts/1/checkpoints/"
    wanted = {row.manifest_key for row in alive} | {
        folder + entry["sha256"] for row in alive for entry in row.files.values()
    }
    assert {key for key in keys(bucket) if key.startswith(folder)} == wanted
    assert len(wanted) == 3 * 3 + 1  # manifest, weights and job of each, and once what is the same in all
    for row in alive:
        manifest = bucket.Object(row.manifest_key).get()["Body"].read()
        assert hashlib.sha256(manifest).hexdigest() == row.sha256
        assert row.bytes == sum(entry["bytes"] for entry in row.files.values()) > 200_000


@pytest.mark.parametrize("harm", ["changed", "missing", "manifest"])
def test_a_broken_checkpoint_is_passed_over_for_the_one_before(
    quick: Settings, desk: Desk, tmp_path: Path, elsewhere: Elsewhere, bucket: "Bucket", harm: str
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=4, until=1)
    elsewhere.do(
        lambda: job.wait_for_checkpoint(1),
        lambda: job.let(2),
        lambda: job.wait_for_checkpoint(2),
        lambda: desk.act(job.id, Verb.PAUSE),
    )
    work(quick, child("trains"))
    newest = checkpoints(desk, job.id)[-1]
    weights = f"jobs/{job.id}/attempts/1/checkpoints/{newest.files['weights']['sha256']}"
    match harm:
        case "changed":
            bucket.Object(weights).put(Body=os.urandom(100_000))
        case "missing":
            bucket.Object(weights).delete()
        case "manifest":
            bucket.Object(newest.manifest_key).put(Body=b"{}")
    desk.act(job.id, Verb.RESUME)
    job.let(4)
    work(quick, child("trains"))
    assert desk.job(job.id).status == "succeeded"
    assert job.trained == [1, 2, 2, 3, 4]
    assert [data["step"] for data in told(desk, job.id, "resumed")] == [1]
    assert told(desk, job.id, "resumed")[0]["lost_steps"] == 1
    warnings = [data["message"] for data in told(desk, job.id, "log") if data["level"] == "warning"]
    assert [message.startswith(f"A checkpoint is broken and not used: number {newest.number}") for message in warnings]


def test_a_job_that_begins_anew_has_no_use_for_what_was_kept(
    quick: Settings, desk: Desk, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=3, until=1)
    elsewhere.do(lambda: job.wait_for_checkpoint(1), lambda: desk.cancel(job.id))
    work(quick, child("trains"))
    assert desk.job(job.id).status == "cancelled"
    desk.act(job.id, Verb.RETRY)
    job.let(3)
    work(quick, child("trains"))
    assert desk.job(job.id).status == "succeeded"
    assert job.trained == [1, 1, 2, 3]


def test_a_worker_that_is_to_end_hands_its_job_on_at_the_very_step(
    quick: Settings, desk: Desk, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=4, until=2)
    stopping = threading.Event()
    elsewhere.do(lambda: job.wait_for_step(2), stopping.set)
    work(quick, child("trains"), stopping.is_set)
    row = desk.job(job.id)
    assert (row.status, row.reason, row.max_attempts - row.attempt) == ("queued", "worker_stopped", 3)
    job.let(4)
    work(quick, child("trains"))
    assert desk.job(job.id).status == "succeeded"
    assert job.trained == [1, 2, 3, 4]


def test_a_job_that_is_to_finish_publishes_what_it_has(
    quick: Settings, desk: Desk, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=100, until=2)
    elsewhere.do(lambda: job.wait_for_step(2), lambda: desk.act(job.id, Verb.FINISH))
    work(quick, child("trains"))
    row = desk.job(job.id)
    assert row.result is not None
    assert (row.status, row.result["last_step"]) == ("succeeded", 2)


def test_an_engine_that_is_killed_goes_on_from_its_checkpoint_at_no_charge(
    quick: Settings, desk: Desk, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=5, until=2)
    elsewhere.do(
        lambda: job.wait_for_checkpoint(2),
        lambda: job.let(3),
        lambda: job.wait_for_step(3),
        lambda: os.kill(job.engine(), signal.SIGKILL),
    )
    work(quick, child("trains"))
    row = desk.job(job.id)
    assert (row.status, row.reason, row.max_attempts - row.attempt) == ("queued", "engine_killed", 3)
    (attempt,) = attempts(desk, job.id)
    assert attempt.error is not None
    assert (attempt.outcome, attempt.phase, attempt.error["code"]) == ("queued", "pruning", "engine_killed")
    job.let(5)
    work(quick, child("trains"))
    assert desk.job(job.id).status == "succeeded"
    assert job.trained in ([1, 2, 3, 3, 4, 5], [1, 2, 3, 4, 5])  # no more than one step is trained again


def test_a_job_is_paused_although_its_engine_takes_no_notice(
    quick: Settings, desk: Desk, started: Path, elsewhere: Elsewhere
) -> None:
    job_id = desk.submit(started=str(started))
    elsewhere.do(lambda: wait_until(started.exists), lambda: desk.act(job_id, Verb.PAUSE))
    began = time.monotonic()
    work(quick.model_copy(update={"checkpoint_grace_seconds": 0.5}), child("hangs"))
    assert desk.job(job_id).status == "paused"
    assert time.monotonic() - began < 60
