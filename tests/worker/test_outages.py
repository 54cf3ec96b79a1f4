"""Database and object storage that are away, or hang, while a job runs."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jobs.settings import Settings, load
from tests.worker.desk import Desk, child, is_running, leftovers, pids, wait_until, work
from tests.worker.elsewhere import Elsewhere
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
    work(far_database.model_copy(update={"lease_seconds": 2.0}), child("hangs"))
    assert not any(map(is_running, pids(started, 2)))

    def is_reaped() -> bool:
        with desk.sessions.begin() as session:
            return reaper.settle(session, load()) == 1

    # The worker counts its lease from before it asked for it, so it gives up a little earlier than the database.
    wait_until(is_reaped, 5)
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
