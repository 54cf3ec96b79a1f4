"""Database and object storage that are away, or hang, while a job runs."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app import store
from cli.stack.servers import Servers
from jobs.errors import StateConflict
from jobs.settings import Settings, load
from jobs.states import FINAL, Verb
from jobs.tables import DEFAULT_PROJECT
from tests.worker.desk import Desk, child, is_running, leftovers, pids, wait_until, work
from tests.worker.elsewhere import Elsewhere
from tests.worker.training_job import TrainingJob
from tests.worker.wire import Wire
from worker import reaper


@pytest.fixture
def database_wire(quick: Settings) -> Iterator[Wire]:
    wire = Wire(urlsplit(quick.database_url.get_secret_value()).port or 0)
    yield wire
    wire.close()


@pytest.fixture
def far_database(quick: Settings, database_wire: Wire) -> Settings:
    return _rewired(quick, "database_url", database_wire)


@pytest.fixture
def storage_wire(quick: Settings) -> Iterator[Wire]:
    wire = Wire(urlsplit(quick.s3_endpoint).port or 0)
    yield wire
    wire.close()


@pytest.fixture
def far_storage(quick: Settings, storage_wire: Wire) -> Settings:
    return _rewired(quick, "s3_endpoint", storage_wire)


def _rewired(settings: Settings, name: str, wire: Wire) -> Settings:
    values = {
        "database_url": settings.database_url.get_secret_value(),
        "s3_endpoint": settings.s3_endpoint,
    }
    parts = urlsplit(values[name])
    port = f":{parts.port}"
    url = values[name].replace(port, f":{wire.port}", 1)
    return Settings.model_validate({**settings.model_dump(), name: url})


def test_a_database_that_is_away_for_less_than_the_lease_is_waited_for(
    far_database: Settings, database_wire: Wire, desk: Desk, started: Path, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    go_on = tmp_path / "go on"
    job_id = desk.submit(started=str(started), wait_for=str(go_on))
    elsewhere.do(
        lambda: pids(started, 1),
        database_wire.cut,
        go_on.touch,
        lambda: time.sleep(3),
        database_wire.mend,
    )
    work(far_database, child("succeeds"))
    assert (desk.job(job_id).status, desk.job(job_id).attempt) == ("succeeded", 1)
    phases = [event.data["phase"] for event in desk.events(job_id) if event.type == "phase"]
    assert phases == ["pruning", "exporting", "uploading"]


@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_a_database_that_is_away_for_longer_than_the_lease_loses_the_job(
    fault: str, far_database: Settings, database_wire: Wire, desk: Desk, started: Path, elsewhere: Elsewhere
) -> None:
    job_id = desk.submit(started=str(started))
    elsewhere.do(lambda: pids(started, 2), getattr(database_wire, fault))
    work(far_database.model_copy(update={"lease_seconds": 4.0}), child("hangs"))
    assert not any(map(is_running, pids(started, 2)))

    def is_reaped() -> bool:
        with desk.sessions.begin() as session:
            return reaper.settle(session, load()) == 1

    # The worker counts its lease from before it asked for it, so it gives up a little earlier than the database.
    wait_until(is_reaped, 30)
    assert desk.job(job_id).status == "queued"


def test_a_storage_that_comes_back_gets_the_model_without_a_second_run(
    far_storage: Settings, storage_wire: Wire, desk: Desk, started: Path, elsewhere: Elsewhere
) -> None:
    storage_wire.cut()
    job_id = desk.submit(started=str(started))
    elsewhere.do(
        lambda: wait_until(lambda: desk.job(job_id).phase == "uploading"), lambda: time.sleep(1), storage_wire.mend
    )
    work(far_storage, child("succeeds"))
    assert desk.job(job_id).status == "succeeded"
    assert len(pids(started, 1)) == 1


def test_a_storage_that_stays_away_costs_the_job_no_attempt(
    far_storage: Settings, storage_wire: Wire, desk: Desk
) -> None:
    storage_wire.cut()
    job_id = desk.submit()
    work(far_storage.model_copy(update={"storage_patience_seconds": 1.0}), child("succeeds"))
    job = desk.job(job_id)
    assert (job.status, job.reason, job.max_attempts - job.attempt) == ("queued", "storage_error", 3)
    again = desk.events(job_id)[-1]
    assert (again.type, again.data["error"]["phase"], again.data["error"]["retryable"]) == ("queued", "uploading", True)
    assert len(leftovers(far_storage)) == 1

    # The storage is back: what was finished is published by the next attempt, which starts no engine.
    storage_wire.mend()
    work(far_storage, ["/nowhere/engine"])
    assert (desk.job(job_id).status, desk.job(job_id).attempt) == ("succeeded", 2)
    assert [event.data["lost_steps"] for event in desk.events(job_id) if event.type == "resumed"] == [0]
    assert leftovers(far_storage) == []


def test_a_cancel_does_not_wait_for_a_storage_that_hangs(
    far_storage: Settings, storage_wire: Wire, desk: Desk, elsewhere: Elsewhere
) -> None:
    storage_wire.silence()
    job_id = desk.submit()
    asked: list[float] = []
    elsewhere.do(
        lambda: wait_until(lambda: desk.job(job_id).phase == "uploading"),
        lambda: desk.cancel(job_id),
        lambda: asked.append(time.monotonic()),
    )
    work(far_storage, child("succeeds"))
    assert time.monotonic() - asked[0] < 10
    assert desk.job(job_id).status == "cancelled"
    assert leftovers(far_storage) == []


def test_a_job_that_begins_anew_does_not_publish_what_was_finished(
    far_storage: Settings, storage_wire: Wire, desk: Desk, started: Path
) -> None:
    storage_wire.cut()
    job_id = desk.submit(started=str(started))
    work(far_storage.model_copy(update={"storage_patience_seconds": 1.0}), child("succeeds"))
    desk.cancel(job_id)
    desk.act(job_id, Verb.RETRY)
    storage_wire.mend()
    work(far_storage, child("succeeds"))
    assert desk.job(job_id).status == "succeeded"
    assert len(pids(started, 2)) == 2


def test_a_cancel_before_the_engine_is_there_starts_none(
    far_storage: Settings, storage_wire: Wire, desk: Desk, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    """The job is claimed, and its checkpoint does not come."""
    job = TrainingJob(desk, tmp_path / "job", steps=4, until=1)
    elsewhere.do(lambda: job.wait_for_checkpoint(1), lambda: desk.act(job.id, Verb.PAUSE))
    work(far_storage, child("trains"))
    desk.act(job.id, Verb.RESUME)
    storage_wire.silence()
    elsewhere.do(lambda: desk.wait_for(job.id, "running"), lambda: desk.cancel(job.id))
    began = time.monotonic()
    work(far_storage, ["/nowhere/engine"])
    assert time.monotonic() - began < 20
    assert desk.job(job.id).status == "cancelled"


def test_a_database_that_goes_away_before_the_engine_is_there_costs_no_attempt(
    far_storage: Settings,
    storage_wire: Wire,
    database_wire: Wire,
    desk: Desk,
    tmp_path: Path,
    elsewhere: Elsewhere,
) -> None:
    """The checkpoint has come, and that it has cannot be written down."""
    job = TrainingJob(desk, tmp_path / "job", steps=4, until=1)
    elsewhere.do(lambda: job.wait_for_checkpoint(1), lambda: desk.act(job.id, Verb.PAUSE))
    work(far_storage, child("trains"))
    desk.act(job.id, Verb.RESUME)
    storage_wire.cut()
    elsewhere.do(
        lambda: desk.wait_for(job.id, "running"),
        lambda: time.sleep(1),  # it asks the storage again and again
        database_wire.cut,
        storage_wire.mend,
        lambda: time.sleep(3),
        database_wire.mend,
    )
    work(_rewired(far_storage, "database_url", database_wire), ["/nowhere/engine"])
    row = desk.job(job.id)
    assert (row.status, row.reason, row.max_attempts - row.attempt) == ("queued", "storage_error", 3)
    job.let(4)
    work(far_storage, child("trains"))
    assert (desk.job(job.id).status, job.trained) == ("succeeded", [1, 2, 3, 4])
    assert [event.data["lost_steps"] for event in desk.events(job.id) if event.type == "resumed"] == [0]


def test_an_outage_of_the_storage_does_not_hold_up_training(
    far_storage: Settings, storage_wire: Wire, desk: Desk, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=5, until=1)
    elsewhere.do(
        lambda: job.wait_for_checkpoint(1),
        storage_wire.cut,
        lambda: job.let(4),
        lambda: job.wait_for_step(4),
        storage_wire.mend,
        lambda: job.wait_for_checkpoint(4),
        lambda: job.let(5),
    )
    work(far_storage, child("trains"))
    assert desk.job(job.id).status == "succeeded"
    assert job.saved[:2] == [1, 4], "those between were overtaken"


def test_a_database_that_restarts_between_two_heartbeats_costs_nothing(
    quick: Settings, servers: Servers, desk: Desk, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    job = TrainingJob(desk, tmp_path / "job", steps=4, until=2)

    # The database is to outlive the thread that starts it, so the worker has the other one.
    elsewhere.do(lambda: work(quick.model_copy(update={"lease_seconds": 60.0}), child("trains")))
    job.wait_for_step(2)
    servers.restart("postgres")
    servers.wait_for("postgres")
    job.let(4)
    elsewhere.join()
    desk.sessions.kw["bind"].dispose()
    assert (desk.job(job.id).status, desk.job(job.id).attempt, job.trained) == ("succeeded", 1, [1, 2, 3, 4])


@pytest.mark.parametrize("after", [0.0, 0.3, 0.6])
def test_of_an_upload_and_a_cancel_exactly_one_wins(
    after: float, quick: Settings, desk: Desk, elsewhere: Elsewhere
) -> None:
    job_id = desk.submit(bytes="20000000")

    def cancel() -> None:
        with contextlib.suppress(StateConflict):  # it has succeeded
            desk.cancel(job_id)

    elsewhere.do(
        lambda: wait_until(lambda: desk.job(job_id).phase == "uploading" or desk.job(job_id).status == "succeeded"),
        lambda: time.sleep(after),
        cancel,
    )
    work(quick, child("succeeds"))
    elsewhere.join()
    ends = [event.type for event in desk.events(job_id) if event.type in FINAL]
    assert ends == [desk.job(job_id).status]
    with desk.sessions.begin() as session:
        published = store.artifacts(session, job_id, project_id=DEFAULT_PROJECT)
    assert len(published) == (4 if ends == ["succeeded"] else 0)
