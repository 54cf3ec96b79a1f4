"""Every way in which an attempt can end, with real processes, database and object storage."""

import hashlib
import json
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from app import store
from jobs.settings import Settings, load
from jobs.tables import DEFAULT_PROJECT, MetricRow
from tests.worker.desk import Desk, child, is_running, keys, leftovers, pids, wait_until, work
from tests.worker.elsewhere import Elsewhere
from worker import checks, reaper, workers
from worker.runner import Runner
from worker.workers import Worker

if TYPE_CHECKING:
    from mypy_boto3_s3.service_resource import Bucket


def test_a_job_that_succeeds(quick: Settings, desk: Desk, bucket: "Bucket") -> None:
    job_id = desk.submit()
    work(quick, child("succeeds"))

    job = desk.job(job_id)
    assert (job.status, job.attempt, job.phase, job.error, job.lease_token) == ("succeeded", 1, None, None, None)
    assert job.progress is not None
    assert (job.progress["percent"], job.progress["step"]) == (100.0, 2)
    assert job.result is not None
    assert job.result["process_group"] is True
    assert job.result["perplexity"] is None
    withheld = {"PRUNERY_DATABASE_URL", "PRUNERY_BROKER_URL", "PRUNERY_API_KEY"}
    assert withheld.isdisjoint(job.result["environment"])
    assert {"PRUNERY_S3_ENDPOINT", "PRUNERY_S3_SECRET_KEY"} <= set(job.result["environment"])
    assert all(Path(folder).is_relative_to(quick.work_dir.absolute()) for folder in job.result["folders"])
    assert leftovers(quick) == []

    events = [(event.type, event.data) for event in desk.events(job_id)]
    assert [type for type, _ in events if type != "log"] == [
        *("queued", "running", "phase", "prune", "phase", "phase", "succeeded")
    ]
    assert [data["phase"] for type, data in events if type == "phase"] == ["pruning", "exporting", "uploading"]
    logs = {(data["level"], data["message"]) for type, data in events if type == "log"}
    assert logs == {("stderr", "a library is talkative"), ("info", "half way")}

    with desk.sessions.begin() as session:
        measured = {(row.key, row.step, row.value) for row in session.scalars(select(MetricRow))}
        artifacts = store.artifacts(session, job_id, project_id=DEFAULT_PROJECT)
    assert measured == {("loss", 2, 2.5), ("sparsity", 2, 0.3)}
    assert {artifact.path for artifact in artifacts} == {
        *("config.json", "again.json", "model.safetensors", "nested/räport.json")
    }
    for artifact in artifacts:
        body = bucket.Object(f"blobs/sha256/{artifact.sha256[:2]}/{artifact.sha256}").get()["Body"].read()
        assert (hashlib.sha256(body).hexdigest(), len(body)) == (artifact.sha256, artifact.bytes)
    manifest = json.loads(bucket.Object(f"jobs/{job_id}/attempts/1/manifest.json").get()["Body"].read())
    (revision,) = manifest["revisions"]
    assert (revision["branch"], revision["commit"]) == ("main", job.result["commit"])
    assert {file["path"]: file["sha256"] for file in revision["files"]} == {
        artifact.path: artifact.sha256 for artifact in artifacts
    }
    assert len(keys(bucket)) == 4  # two of the four files have the same content


def test_what_a_cut_took_is_told_before_its_step_ends(
    quick: Settings, desk: Desk, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    go_on = tmp_path / "go on"
    job_id = desk.submit(wait_for=str(go_on))

    def watch() -> None:
        try:
            wait_until(lambda: (desk.job(job_id).progress or {}).get("sparsity") == 0.3)
        finally:
            go_on.touch()

    elsewhere.do(watch)
    work(quick, child("succeeds"))
    assert desk.job(job_id).status == "succeeded"


def test_a_doubled_doorbell_starts_nothing(quick: Settings, desk: Desk, started: Path) -> None:
    job_id = desk.submit(started=str(started))
    for _ in range(3):
        work(quick, child("succeeds"))
    assert len(pids(started, 1)) == 1
    assert desk.job(job_id).attempt == 1


@pytest.mark.parametrize(
    ("way", "code", "message"),
    [
        ("reason", "dataset_too_short", "12 tokens,\N{REPLACEMENT CHARACTER} less than one window."),
        ("signal", "engine_crashed", "The engine was ended by SIGSEGV."),
        ("code", "internal", "The engine ended with exit code 7 and without a reason."),
        ("no model", "internal", "The engine ended without a result."),
        ("empty model", "internal", "The engine left no file to publish."),
    ],
)
def test_a_job_that_fails(way: str, code: str, message: str, quick: Settings, desk: Desk, bucket: "Bucket") -> None:
    job_id = desk.submit(max_attempts=1, way=way)
    work(quick, child("fails"))
    job = desk.job(job_id)
    assert job.error is not None
    assert (job.status, job.reason, job.error["code"], job.error["message"]) == ("failed", code, code, message)
    match way:
        case "reason":
            assert (job.error["phase"], job.error["step"], job.error["hint"]) == ("loading_data", 3, "Add text.")
        case "signal":
            assert job.error["log_excerpt"] == ["last words"]
            assert (job.error["phase"], job.error["retryable"]) == ("baseline_eval", True)
    assert desk.events(job_id)[-1].data["error"] == job.error
    assert leftovers(quick) == []
    assert keys(bucket) == []


def test_a_job_that_crashes_at_the_same_place_twice_is_not_tried_a_third_time(quick: Settings, desk: Desk) -> None:
    job_id = desk.submit(max_attempts=5, way="signal")
    work(quick, child("fails"))
    again = desk.events(job_id)[-1]
    assert (desk.job(job_id).status, again.data["reason"]) == ("queued", "engine_crashed")
    work(quick, child("fails"))
    job = desk.job(job_id)
    assert job.error is not None
    assert (job.status, job.attempt, job.error["code"]) == ("failed", 2, "engine_crashed")
    assert "same place" in job.error["hint"]
    assert job.error["log_excerpt"] == ["last words"]


@pytest.mark.parametrize(("fits", "attempts", "status"), [(2, 3, "succeeded"), (1, 3, "failed")])
def test_a_job_that_does_not_fit_is_tried_twice_with_half_the_micro_batch(
    fits: int, attempts: int, status: str, quick: Settings, desk: Desk
) -> None:
    job_id = desk.submit(max_attempts=9, way="memory", fits=str(fits))
    while work(quick, child("fails")):
        pass
    job = desk.job(job_id)
    assert (job.status, job.attempt, job.overrides) == (status, attempts, {"micro_batch_size": 2})
    assert job.spec["method"]["train"]["micro_batch_size"] is None, "what was asked stays as it was"
    if job.result is not None:
        assert job.result["micro_batch_size"] == 2


def test_what_no_log_should_hold_does_no_harm(quick: Settings, desk: Desk) -> None:
    job_id = desk.submit()
    work(quick, child("is_noisy"))
    assert desk.job(job_id).status == "succeeded"
    logs = [event.data for event in desk.events(job_id) if event.type == "log"]
    lines = [line for data in logs if data["level"] == "stderr" for line in data["message"].split("\n")]
    assert "a NUL \ufffd, half a character \ufffd, Ünïcode" in lines
    assert "100% of it" in lines
    assert "x" * 4096 in lines
    assert "The engine reported something unreadable: no json" in lines
    assert "line 0" in lines
    assert "line 19999" not in lines
    assert 4_900 < len(lines) < 5_000
    assert [data["message"] for data in logs if data["level"] == "warning"] == [
        "This attempt wrote 5000 log lines; later ones are left out."
    ]
    assert {"level": "info", "message": "NUL \ufffd and half a pair ?", "number": None} in logs


def test_a_cancel_ends_a_stubborn_engine(
    quick: Settings, desk: Desk, started: Path, elsewhere: Elsewhere, bucket: "Bucket"
) -> None:
    job_id = desk.submit(started=str(started))
    asked: list[float] = []
    elsewhere.do(lambda: pids(started, 2), lambda: desk.cancel(job_id), lambda: asked.append(time.monotonic()))
    work(quick, child("hangs"))
    assert time.monotonic() - asked[0] < 10
    assert desk.job(job_id).status == "cancelled"
    statuses = [event.type for event in desk.events(job_id) if event.type not in {"phase", "log"}]
    assert statuses == ["queued", "running", "cancelling", "cancelled"]
    wait_until(lambda: not any(map(is_running, pids(started, 2))), 5)
    assert leftovers(quick) == []
    assert keys(bucket) == []


def test_a_worker_that_is_to_end_gives_its_job_back(
    quick: Settings, desk: Desk, started: Path, elsewhere: Elsewhere
) -> None:
    job_id = desk.submit(started=str(started))
    stopping = threading.Event()
    elsewhere.do(lambda: pids(started, 2), stopping.set)
    work(quick, child("hangs"), stopping=stopping.is_set)
    job = desk.job(job_id)
    assert (job.status, job.reason, job.max_attempts - job.attempt) == ("queued", "worker_stopped", 3)
    work(quick, child("succeeds"))
    assert desk.job(job_id).status == "succeeded"


def test_an_overtaken_worker_kills_its_engine_and_writes_nothing(
    quick: Settings, desk: Desk, started: Path, elsewhere: Elsewhere, bucket: "Bucket"
) -> None:
    job_id = desk.submit(started=str(started))

    def overtake() -> None:
        with desk.sessions.begin() as session:
            session.execute(text("UPDATE jobs SET lease_expires_at = now() - interval '1 s'"))
            assert reaper.settle(session, load()) == 1

    elsewhere.do(lambda: pids(started, 2), overtake)
    work(quick, child("hangs"))
    assert (desk.job(job_id).status, desk.job(job_id).reason) == ("queued", "worker_lost")
    assert desk.events(job_id)[-1].type == "queued"
    wait_until(lambda: not any(map(is_running, pids(started, 2))), 5)
    assert leftovers(quick) == []
    assert keys(bucket) == []


def test_the_next_attempt_removes_what_a_killed_one_left(quick: Settings, desk: Desk) -> None:
    abandoned = quick.work_dir / "cjob_other.1"
    (abandoned / "out").mkdir(parents=True)
    (abandoned / ".lock").touch()
    desk.submit()
    work(quick, child("succeeds"))
    assert leftovers(quick) == []


def test_a_work_folder_that_cannot_be_used_fails_the_job(quick: Settings, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    job_id = desk.submit()
    work(quick.model_copy(update={"work_dir": tmp_path / "file"}), child("succeeds"))
    job = desk.job(job_id)
    assert job.error is not None
    assert (job.status, job.error["code"]) == ("failed", "internal")
    assert "FileExistsError" in job.error["message"]


@pytest.mark.parametrize(("options", "phase"), [("size=4m", "exporting"), ("nr_inodes=2", "preparing")])
def test_a_full_disk_has_a_name(
    options: str, phase: str, quick: Settings, desk: Desk, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Full for the engine, which cannot even write down why it ends, or for the supervisor before it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    request.addfinalizer(lambda: subprocess.run(["umount", disk], check=True))
    job_id = desk.submit()
    work(quick.model_copy(update={"work_dir": disk}), child("fills_the_disk"))
    job = desk.job(job_id)
    assert job.error is not None
    assert (job.status, job.reason, job.error["code"]) == ("failed", "out_of_disk", "out_of_disk")
    assert job.error["phase"] == phase


def test_a_worker_whose_gpu_has_failed_leaves_the_job_to_others(
    quick: Settings, desk: Desk, sessions: sessionmaker[Session]
) -> None:
    job_id = desk.submit(max_attempts=1, way="gpu")
    here = Worker.here(quick)
    runner = Runner(quick, here, command=child("fails"))
    assert runner.run_next(sessions)
    job = desk.job(job_id)
    assert (job.status, job.reason, job.max_attempts, job.free_attempts) == ("queued", "gpu_fault", 2, 1)
    assert not runner.run_next(sessions)
    with sessions.begin() as session:
        workers.seen(session, here, fault=runner.fault)
    (finding,) = [one for one in checks.find_processes(quick) if one.says.startswith(here.host)]
    assert (finding.state, "The accelerator has failed." in finding.says) == ("failed", True)
