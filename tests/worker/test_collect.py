"""What nobody needs goes, and nothing else, whatever happens at the same moment."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, func, null, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from jobs import held_models
from jobs.files import Files, blob_key, upload_key
from jobs.held_models import HeldFile
from jobs.registry_tables import ModelRow, RevisionFileRow
from jobs.revisions import MAIN
from jobs.settings import Settings
from jobs.tables import DEFAULT_PROJECT, CheckpointRow, EventRow, FileRow, HoldRow, JobRow
from jobs.upload_tables import UploadRow
from jobs.uploads import PART_BYTES
from jobs.webhook_tables import WebhookDeliveryRow, WebhookEndpointRow
from tests.worker.desk import Desk, keys
from worker import collect, holds, leases
from worker.leases import Claim
from worker.publish import publish
from worker.revisions import NewRevision

if TYPE_CHECKING:
    from mypy_boto3_s3.service_resource import Bucket

Sessions = sessionmaker[Session]
WEIGHTS = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def files(settings: Settings) -> Files:
    return Files(settings)


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    """Everything is old at once."""
    return settings.model_copy(update={"orphan_grace_seconds": 0.0})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def claimed(desk: Desk) -> Claim:
    with desk.sessions.begin() as session:
        claim = leases.claim(session, desk.submit(), "worker", 600)
    assert claim is not None
    return claim


def published(desk: Desk, files: Files, model: Path, claim: Claim) -> NewRevision:
    def hold(sha256s: list[str]) -> None:
        with desk.sessions.begin() as session:
            holds.hold(session, claim.job_id, sha256s)

    (revision,) = publish(files, {MAIN: model}, claim, hold=hold, check=lambda: None, patience_seconds=60)
    return revision


def succeed(desk: Desk, claim: Claim, revision: NewRevision) -> None:
    with desk.sessions.begin() as session:
        assert leases.succeed(session, claim, {}, [revision])


def remove(desk: Desk, job_id: str) -> None:
    with desk.sessions.begin() as session:
        session.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": job_id})
        session.execute(text("DELETE FROM revisions WHERE job_id = :id"), {"id": job_id})


def test_only_what_has_no_row_goes(
    engine: Engine, impatient: Settings, desk: Desk, files: Files, model: Path, bucket: "Bucket"
) -> None:
    kept, gone = claimed(desk), claimed(desk)
    succeed(desk, kept, published(desk, files, model, kept))
    (model / "more.json").write_text("{}")
    succeed(desk, gone, published(desk, files, model, gone))
    with desk.sessions.begin() as session:
        session.add(FileRow(id="file_1", project_id=DEFAULT_PROJECT, name="a.txt", bytes=1, sha256=""))
    for file_id in ("file_1", "file_2"):
        files.put_bytes(upload_key(file_id, "a.txt"), b"a")
    files.put_bytes("elsewhere/a.txt", b"not ours")
    remove(desk, gone.job_id)
    before = keys(bucket)
    dry = collect.collect(engine, impatient, dry=True)
    assert keys(bucket) == before
    done = collect.collect(engine, impatient)
    assert done == dry
    assert done is not None
    assert (done["contents"], done["uploads"]["count"]) == ({"count": 1, "bytes": 2}, 1)
    assert done["remains of attempts"]["count"] == 1
    manifest = f"jobs/{kept.job_id}/attempts/1/manifest.json"
    assert keys(bucket) == sorted([blob_key(WEIGHTS), upload_key("file_1", "a.txt"), "elsewhere/a.txt", manifest])
    again = collect.collect(engine, impatient)
    assert again is not None
    assert sum(counts["count"] for counts in again.values()) == 0


def test_copies_of_hub_models_and_uploads_stay_for_as_long_as_somebody_may_need_them(
    engine: Engine, impatient: Settings, desk: Desk, files: Files, bucket: "Bucket"
) -> None:
    contents = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("copied", "complete", "under way")}
    for name in ("copied", "complete"):
        files.put_bytes(blob_key(contents[name]), name.encode())
    key = upload_key("upl_2", "content")
    begun = files._s3.create_multipart_upload(Bucket=files.bucket, Key=key)["UploadId"]
    upload = {"project_id": DEFAULT_PROJECT, "bytes": 8}
    with desk.sessions.begin() as session:
        held_models.record_copy(session, "acme/small", "c0ffee", [HeldFile("config.json", 6, contents["copied"])])
        done = UploadRow(id="upl_1", storage_id="", sha256=contents["complete"], completed_at=func.now(), **upload)
        session.add_all([done, UploadRow(id="upl_2", storage_id=begun, sha256=contents["under way"], **upload)])
    collect.collect(engine, impatient)
    assert keys(bucket) == sorted(blob_key(contents[name]) for name in ("copied", "complete"))
    assert [entry.id for entry in bucket.multipart_uploads.all()] == [begun]
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE hub_copies SET used_at = now() - interval '31 days'"))
        session.execute(text("UPDATE uploads SET touched_at = now() - interval '8 days'"))
    gone = collect.collect(engine, impatient)
    assert gone is not None
    assert (gone["hub copies"]["count"], gone["uploads of models"]["count"]) == (1, 2)
    assert (keys(bucket), list(bucket.multipart_uploads.all())) == ([], [])


def test_what_is_young_stays(engine: Engine, settings: Settings, files: Files, bucket: "Bucket") -> None:
    for key in (blob_key("ab" * 32), upload_key("file_2", "a.txt"), "jobs/cjob_1/attempts/1/manifest.json"):
        files.put_bytes(key, b"a")
    with files.upload(upload_key("file_3", "b.txt"), None) as upload:
        upload.write(b"b" * PART_BYTES)
        collect.collect(engine, settings)
        assert len(keys(bucket)) == 3
        assert len(list(bucket.multipart_uploads.all())) == 1
        upload.write(b"b")
        upload.finish()


def test_an_upload_that_broke_off_goes(engine: Engine, impatient: Settings, files: Files, bucket: "Bucket") -> None:
    upload = files.upload(upload_key("file_3", "b.txt"), None)
    upload.write(b"b" * PART_BYTES)
    assert len(list(bucket.multipart_uploads.all())) == 1
    done = collect.collect(engine, impatient)
    assert done is not None
    assert done["unfinished uploads"] == {"count": 1}
    assert list(bucket.multipart_uploads.all()) == []


def test_a_content_stays_between_the_look_for_it_and_the_row(
    engine: Engine, impatient: Settings, desk: Desk, files: Files, model: Path
) -> None:
    earlier, claim = claimed(desk), claimed(desk)
    succeed(desk, earlier, published(desk, files, model, earlier))
    revision = published(desk, files, model, claim)  # found, not sent again
    remove(desk, earlier.job_id)
    collect.collect(engine, impatient)
    assert files.size(blob_key(WEIGHTS)) == len(b"weights")
    succeed(desk, claim, revision)
    collect.collect(engine, impatient)
    assert files.size(blob_key(WEIGHTS)) == len(b"weights")
    remove(desk, claim.job_id)
    collect.collect(engine, impatient)
    assert files.size(blob_key(WEIGHTS)) is None


def test_a_deleted_model_keeps_its_content_until_its_time_is_over(
    engine: Engine, impatient: Settings, desk: Desk, files: Files, model: Path
) -> None:
    claim = claimed(desk)
    succeed(desk, claim, published(desk, files, model, claim))
    for days, size in ((0, len(b"weights")), (8, None)):
        with desk.sessions.begin() as session:
            session.execute(update(ModelRow).values(deleted_at=func.now() - timedelta(days=days)))
        done = collect.collect(engine, impatient)
        assert done is not None
        assert done["models"] == {"count": int(size is None)}
        assert files.size(blob_key(WEIGHTS)) == size
    with desk.sessions() as session:
        assert session.scalars(select(RevisionFileRow)).all() == []


def test_a_job_that_ended_without_publishing_holds_nothing(
    engine: Engine, impatient: Settings, desk: Desk, files: Files, model: Path
) -> None:
    claim = claimed(desk)
    published(desk, files, model, claim)
    with desk.sessions.begin() as session:
        assert leases.fail(session, claim, {"code": "internal"}, "internal")
    collect.collect(engine, impatient)
    assert files.size(blob_key(WEIGHTS)) is None


def test_whoever_says_what_they_need_waits_for_a_sweep_that_deletes(desk: Desk) -> None:
    claim = claimed(desk)
    holding = threading.Thread(target=partial(hold_one, desk, claim))
    with desk.sessions.begin() as sweeping:
        holds.exclude_others(sweeping)
        holding.start()
        holding.join(1)
        assert holding.is_alive()
    holding.join(30)
    assert not holding.is_alive()
    with desk.sessions() as session:
        assert holds.needed(session, ["ab" * 32]) == {"ab" * 32}


def hold_one(desk: Desk, claim: Claim) -> None:
    with desk.sessions.begin() as session:
        holds.hold(session, claim.job_id, ["ab" * 32])


def test_nothing_published_is_lost_while_the_same_is_swept_away(
    engine: Engine, impatient: Settings, desk: Desk, files: Files, model: Path
) -> None:
    """The same content loses its last owner and finds a new one, again and again, under a sweep that never rests."""
    stop = threading.Event()
    failures: list[Exception] = []
    swept = [0]

    def sweep() -> None:
        while not stop.is_set():
            try:
                swept[0] += (collect.collect(engine, impatient) or {}).get("contents", {}).get("count", 0)
            except Exception as error:
                failures.append(error)
                return

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for _ in range(25):
            claim = claimed(desk)
            revision = published(desk, files, model, claim)
            succeed(desk, claim, revision)
            assert files.size(blob_key(WEIGHTS)) == len(b"weights")
            remove(desk, claim.job_id)
    finally:
        stop.set()
        sweeper.join(120)
    assert failures == []
    assert swept[0] > 0


def test_checkpoints_go_some_days_after_the_end_and_those_of_others_stay(
    engine: Engine, impatient: Settings, desk: Desk, files: Files, bucket: "Bucket"
) -> None:
    ended, lately, running = (claimed(desk) for _ in range(3))
    for claim in (ended, lately, running):
        place = f"jobs/{claim.job_id}/attempts/1/checkpoints/1.json"
        files.put_bytes(place, b"{}")
        row = {"job_id": claim.job_id, "number": 1, "attempt": 1, "step": 1, "bytes": 2, "files": {}, "sha256": ""}
        with desk.sessions.begin() as session:
            session.add(CheckpointRow(**row, manifest_key=place))
    with desk.sessions.begin() as session:
        for claim in (ended, lately):
            assert leases.fail(session, claim, {"code": "internal"}, "internal")
        long_ago = func.now() - timedelta(days=8)
        session.execute(update(JobRow).where(JobRow.id == ended.job_id).values(finished_at=long_ago))
    files.put_bytes(f"jobs/{running.job_id}/attempts/1/checkpoints/untold", b"on its way to a row")
    done = collect.collect(engine, impatient)
    assert done is not None
    assert (done["checkpoints"]["count"], done["remains of attempts"]["count"]) == (1, 1)
    assert not [key for key in keys(bucket) if ended.job_id in key]
    assert len(keys(bucket)) == 3
    with desk.sessions() as session:
        alive = select(CheckpointRow.job_id).where(CheckpointRow.deleted_at.is_(None))
        assert set(session.scalars(alive)) == {lately.job_id, running.job_id}


def test_two_never_collect_at_once(engine: Engine, impatient: Settings) -> None:
    with engine.connect() as other:
        other.execute(select(func.pg_advisory_lock(collect.LOCK)))
        assert collect.collect(engine, impatient) is None
        other.execute(select(func.pg_advisory_unlock(collect.LOCK)))
    assert collect.collect(engine, impatient) is not None


def test_history_deliveries_and_files_go_when_their_time_is_over(
    engine: Engine, settings: Settings, desk: Desk
) -> None:
    old, young, running = desk.submit(), desk.submit(), desk.submit()
    desk.cancel(old)
    desk.cancel(young)
    ages: dict[str, Any] = {"orphan_grace_seconds": 0.0, "history_days": 7.0, "delivery_days": 7.0, "file_days": 7.0}
    long_ago = func.now() - timedelta(days=8)
    with desk.sessions.begin() as session:
        session.execute(update(JobRow).where(JobRow.id == old).values(finished_at=long_ago))
        session.add(WebhookEndpointRow(id="we_1", project_id=DEFAULT_PROJECT, url="", events=[], secret=""))
        session.flush()
        told = {"endpoint_id": "we_1", "type": "a", "body": "", "created_at": long_ago}
        session.add(WebhookDeliveryRow(id="msg_old", status="failed", due_at=null(), ended_at=long_ago, **told))
        session.add(WebhookDeliveryRow(id="msg_young", status="delivered", due_at=null(), ended_at=func.now(), **told))
        session.add(WebhookDeliveryRow(id="msg_waits", **told))
        for name, made in (("file_1", long_ago), ("file_2", long_ago), ("file_3", func.now())):
            session.add(FileRow(id=name, project_id=DEFAULT_PROJECT, name="a", bytes=1, sha256="", created_at=made))
    assert collect.collect(engine, settings) is not None  # by default all of it stays, for a while
    assert len(desk.events(old)) == 2
    assert collect.collect(engine, settings.model_copy(update=ages)) is not None
    with desk.sessions() as session:
        assert set(session.scalars(select(WebhookDeliveryRow.id))) == {"msg_young", "msg_waits"}
        # The running job has file_1 as its text.
        assert set(session.scalars(select(FileRow.id))) == {"file_1", "file_3"}
        assert set(session.scalars(select(EventRow.job_id))) == {young, running}
        assert session.scalars(select(HoldRow.job_id)).all() == []
    assert desk.job(old).status == "cancelled"


def test_the_command_says_what_would_go(environment: dict[str, str], files: Files, settings: Settings) -> None:
    files.put_bytes(blob_key("ab" * 32), b"abc")
    variables = {**os.environ, **environment, "PRUNERY_ORPHAN_GRACE_SECONDS": "0"}
    command = [sys.executable, "-m", "worker.collect"]
    shown = subprocess.run([*command, "--dry-run"], env=variables, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["contents"] == {"count": 1, "bytes": 3}
    assert files.size(blob_key("ab" * 32)) == 3
    subprocess.run(command, env=variables, capture_output=True, check=True)
    assert files.size(blob_key("ab" * 32)) is None
