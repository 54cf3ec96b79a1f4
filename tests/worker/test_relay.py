"""Doorbells reach a real broker, whatever happens to it meanwhile."""

import base64
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from redis import Redis
from sqlalchemy import func, select, text

from jobs.settings import Settings
from jobs.tables import OutboxRow
from tests.worker.desk import Desk, wait_until
from tests.worker.wire import Wire
from worker import leases
from worker.relay import Relay


@pytest.fixture
def broker_wire(settings: Settings) -> Iterator[Wire]:
    wire = Wire(urlsplit(settings.broker_url.get_secret_value()).port or 0)
    yield wire
    wire.close()


def rung(settings: Settings) -> list[str]:
    """The jobs that the messages in the broker's queue name, oldest first."""
    with Redis.from_url(settings.broker_url.get_secret_value()) as broker:
        messages = [json.loads(message) for message in broker.lrange("prunery:jobs", 0, -1)]
    bodies = [json.loads(base64.b64decode(message["body"])) for message in reversed(messages)]
    return [keywords["job_id"] for _, keywords, _ in bodies]


def unsent(desk: Desk) -> int:
    with desk.sessions.begin() as session:
        return session.scalar(select(func.count()).select_from(OutboxRow)) or 0


@contextmanager
def running(settings: Settings, **changes: object) -> Iterator[None]:
    stop = threading.Event()
    relay = Relay(Settings.model_validate({**settings.model_dump(), "relay_seconds": 0.1, **changes}))
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    yield
    stop.set()
    thread.join(15)
    assert not thread.is_alive()


def test_every_doorbell_is_rung_once_and_in_order(settings: Settings, desk: Desk) -> None:
    jobs = [desk.submit() for _ in range(5)]
    with running(settings):
        wait_until(lambda: unsent(desk) == 0)
        time.sleep(0.5)
    assert rung(settings) == jobs


@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_a_broker_that_is_away_delays_the_doorbells_and_is_mentioned_once(
    fault: str, settings: Settings, desk: Desk, broker_wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    url = settings.broker_url.get_secret_value()
    port = urlsplit(url).port
    caplog.set_level(logging.INFO, logger="worker.relay")
    with running(settings, broker_url=url.replace(f":{port}", f":{broker_wire.port}")):
        first = desk.submit()
        wait_until(lambda: unsent(desk) == 0)
        getattr(broker_wire, fault)()
        jobs = [desk.submit() for _ in range(3)]
        wait_until(lambda: "does not answer" in caplog.text)
        time.sleep(1)
        assert unsent(desk) == 3
        broker_wire.mend()
        wait_until(lambda: unsent(desk) == 0)
    # A message may have been heard although its answer was lost: then it is sent twice.
    assert list(dict.fromkeys(rung(settings))) == [first, *jobs]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_database_that_is_away_does_not_end_the_relay(settings: Settings, desk: Desk) -> None:
    url = settings.database_url.get_secret_value()
    port = urlsplit(url).port
    wire = Wire(port or 0)
    with running(settings, database_url=url.replace(f":{port}", f":{wire.port}")):
        wire.cut()
        job_id = desk.submit()
        time.sleep(1)
        assert unsent(desk) == 1
        wire.mend()
        wait_until(lambda: unsent(desk) == 0)
    wire.close()
    assert rung(settings) == [job_id]


def test_the_process_puts_lost_jobs_back_and_ends_on_term(
    environment: dict[str, str], settings: Settings, desk: Desk
) -> None:
    lost = desk.submit()
    with desk.sessions.begin() as session:
        session.execute(text("DELETE FROM outbox"))
        assert leases.claim(session, lost, "a worker that is gone", 0)
    variables = {**os.environ, **environment, "PRUNERY_REAP_SECONDS": "0.2"}
    with subprocess.Popen([sys.executable, "-m", "worker.relay"], env=variables) as relay:
        wait_until(lambda: rung(settings) == [lost])
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(15) == 0
    assert desk.job(lost).status == "queued"
