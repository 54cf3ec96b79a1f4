"""Real messages about real jobs to real receivers, checked with the library that receivers use."""

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import func, select, text, update
from standardwebhooks import Webhook, WebhookVerificationError

from jobs.meters import MeterRow
from jobs.sealing import Seal
from jobs.settings import Settings
from jobs.tables import DEFAULT_PROJECT
from jobs.webhook_tables import WebhookAttemptRow, WebhookDeliveryRow, WebhookEndpointRow
from tests.receiver import Receiver
from tests.worker.desk import Desk, wait_until
from worker import deliveries, leases
from worker.webhooks import Sender


def new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path / "receiver") as running:
        yield running


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    changes = {"webhook_http": True, "webhook_ports": (), "webhook_networks": ["127.0.0.0/8"], "webhook_seconds": 0.2}
    return Settings.model_validate({**settings.model_dump(), **changes})


@pytest.fixture
def listen(desk: Desk) -> Callable[..., str]:
    """Makes an endpoint, and returns its id."""

    def add(url: str, **values: Any) -> str:
        with desk.sessions.begin() as session:
            number = session.scalar(select(func.count()).select_from(WebhookEndpointRow)) or 0
            row = WebhookEndpointRow(
                **{
                    "id": f"we_{number}",
                    "project_id": DEFAULT_PROJECT,
                    "url": url,
                    "events": ["*"],
                    "secret": "",
                    **values,
                }
            )
            session.add(row)
            return row.id

    return add


@contextmanager
def sending(settings: Settings) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=Sender(settings).run, args=(stop,))
    thread.start()
    yield
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def rows(desk: Desk) -> list[WebhookDeliveryRow]:
    with desk.sessions.begin() as session:
        return list(session.scalars(select(WebhookDeliveryRow).order_by(WebhookDeliveryRow.id)))


def attempts(desk: Desk) -> list[WebhookAttemptRow]:
    with desk.sessions.begin() as session:
        return list(session.scalars(select(WebhookAttemptRow).order_by(WebhookAttemptRow.number)))


def endpoint(desk: Desk, endpoint_id: str) -> WebhookEndpointRow:
    with desk.sessions.begin() as session:
        return session.get_one(WebhookEndpointRow, endpoint_id)


def hurry(desk: Desk) -> None:
    """As if all the waiting were over."""
    with desk.sessions.begin() as session:
        session.execute(
            update(WebhookDeliveryRow).where(WebhookDeliveryRow.due_at.is_not(None)).values(due_at=func.now())
        )


def test_a_job_s_way_is_told_signed_and_in_both_conventions(
    open_settings: Settings, desk: Desk, receiver: Receiver, listen: Callable[..., str]
) -> None:
    secret = new_secret()
    listen(receiver.url, secret=secret)
    job_id = desk.submit(team="nlp")
    with desk.sessions.begin() as session:
        claim = leases.claim(session, job_id, "worker", 60)
        assert claim
        assert leases.append(session, claim, [("log", {"message": "nobody is told"}), ("phase", {"phase": "pruning"})])
    with desk.sessions.begin() as session:
        assert leases.succeed(session, claim, {}, [])
    with sending(open_settings):
        heard = receiver.wait_for(4)
    messages = {}
    for request in heard:
        message = Webhook(secret).verify(request["body"], request["headers"])
        with pytest.raises(WebhookVerificationError):
            Webhook(new_secret()).verify(request["body"], request["headers"])
        headers = request["headers"]
        assert headers["ce-specversion"] == "1.0"
        assert headers["ce-id"] == headers["webhook-id"]
        assert headers["ce-type"] == message["type"]
        assert headers["ce-subject"] == job_id == message["data"]["id"]
        assert message["data"]["metadata"] == {"team": "nlp"}
        messages[message["type"].rpartition(".")[2]] = message["data"]
    assert set(messages) == {"queued", "started", "phase_changed", "succeeded"}
    assert [messages[name]["version"] for name in ("queued", "started", "succeeded")] == [1, 2, 3]
    assert messages["succeeded"]["status"] == "succeeded"
    assert messages["phase_changed"]["phase"] == "pruning"
    assert {row.status for row in rows(desk)} == {"delivered"}
    with desk.sessions() as session:
        counted = dict(session.execute(select(MeterRow.labels, MeterRow.value)).all())  # type: ignore[arg-type]
    assert counted['{"outcome": "delivered"}'] == 4
    assert '{"part": "webhooks"}' in counted
    assert {attempt.status_code for attempt in attempts(desk)} == {204}


def test_only_what_was_asked_for_is_told_and_nothing_without_an_endpoint(
    desk: Desk, receiver: Receiver, listen: Callable[..., str]
) -> None:
    desk.cancel(desk.submit())
    assert rows(desk) == []
    other = desk.submit()
    ends = listen(receiver.url, events=["*.succeeded", "compression.job.cancelled"])
    listen(receiver.url, job_id=other)
    listen(receiver.url, disabled_at=func.now())
    job_id = desk.submit()
    desk.cancel(job_id)
    assert [(row.endpoint_id, row.job_id, row.type) for row in rows(desk)] == [
        (ends, job_id, "compression.job.cancelled")
    ]


def test_a_message_and_its_event_are_written_together_or_not_at_all(desk: Desk, listen: Callable[..., str]) -> None:
    listen("https://example.com/")
    with desk.sessions() as session:
        job_id = desk.submit()
        assert leases.claim(session, job_id, "worker", 60)
        session.rollback()
    assert [row.type for row in rows(desk)] == ["compression.job.queued"]
    assert [event.type for event in desk.events(job_id)] == ["queued"]


def test_an_endpoint_that_is_removed_meanwhile_does_not_undo_the_job(desk: Desk, listen: Callable[..., str]) -> None:
    endpoint_id = listen("https://example.com/")
    job_id = desk.submit()
    with desk.sessions() as removing:
        removing.execute(text("DELETE FROM webhook_endpoints WHERE id = :id"), {"id": endpoint_id})
        cancelling = threading.Thread(target=desk.cancel, args=(job_id,))
        cancelling.start()
        cancelling.join(1)
        assert cancelling.is_alive()
        removing.commit()
        cancelling.join(30)
    assert desk.job(job_id).status == "cancelled"
    assert rows(desk) == []


def test_a_refusal_is_tried_again_with_the_same_message(
    open_settings: Settings, desk: Desk, receiver: Receiver, listen: Callable[..., str]
) -> None:
    secret = new_secret()
    endpoint_id = listen(receiver.url, secret=secret, events=["*.queued"])
    receiver.answer(500, "no\0 " + "x" * 2000)
    desk.submit()
    with sending(open_settings):
        receiver.wait_for(1)
        wait_until(lambda: len(attempts(desk)) == 1)
        (row,) = rows(desk)
        assert (row.status, row.attempts, row.step) == ("pending", 1, 1)
        assert row.due_at is not None
        assert row.due_at - attempts(desk)[0].at <= timedelta(seconds=5 * 1.1 + 1)
        assert endpoint(desk, endpoint_id).failing_since is not None
        assert attempts(desk)[0].response == "no\N{REPLACEMENT CHARACTER} " + "x" * 1020
        receiver.answer(200, "yes")
        first, second = receiver.wait_for(2)
        wait_until(lambda: rows(desk)[0].status == "delivered")
    assert first["body"] == second["body"]
    assert first["headers"]["webhook-id"] == second["headers"]["webhook-id"]
    assert first["headers"]["webhook-timestamp"] <= second["headers"]["webhook-timestamp"]
    Webhook(secret).verify(second["body"], second["headers"])
    assert [(each.number, each.status_code) for each in attempts(desk)] == [(1, 500), (2, 200)]
    assert endpoint(desk, endpoint_id).failing_since is None


def test_the_receiver_says_how_long_to_wait(
    open_settings: Settings, desk: Desk, receiver: Receiver, listen: Callable[..., str]
) -> None:
    listen(receiver.url, events=["*.queued"])
    receiver.answer(429, Retry_After="1800")
    desk.submit()
    with sending(open_settings):
        wait_until(lambda: len(attempts(desk)) == 1)
    (row,) = rows(desk)
    assert row.due_at is not None
    assert timedelta(minutes=29) < row.due_at - attempts(desk)[0].at < timedelta(minutes=31)


def test_after_the_last_pause_a_message_has_failed(
    open_settings: Settings, desk: Desk, receiver: Receiver, listen: Callable[..., str]
) -> None:
    endpoint_id = listen(receiver.url, events=["*.queued"])
    receiver.answer(503)
    desk.submit()
    pauses = []
    with sending(open_settings):
        for number in range(1, len(deliveries.PAUSES) + 2):
            wait_until(lambda number=number: len(attempts(desk)) == number)  # type: ignore[misc]
            row = rows(desk)[0]
            if row.due_at is not None:
                pauses.append((row.due_at - attempts(desk)[-1].at).total_seconds())
            hurry(desk)
    assert (row.status, row.attempts) == ("failed", 10)
    for pause, expected in zip(pauses, (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400), strict=True):
        assert expected - 1 <= pause <= expected * 1.1 + 1
    assert endpoint(desk, endpoint_id).disabled_at is None


def test_a_receiver_that_is_gone_is_asked_no_more(
    open_settings: Settings, desk: Desk, receiver: Receiver, listen: Callable[..., str]
) -> None:
    endpoint_id = listen(receiver.url)
    receiver.answer(410)
    desk.submit()
    with sending(open_settings):
        wait_until(lambda: endpoint(desk, endpoint_id).disabled_reason == "gone")
    desk.submit()
    assert [row.status for row in rows(desk)] == ["failed"]


def test_after_five_days_of_failure_an_endpoint_is_disabled(
    open_settings: Settings, desk: Desk, receiver: Receiver, listen: Callable[..., str]
) -> None:
    failing = listen(receiver.url, failing_since=func.now() - timedelta(days=6))
    fresh = listen(receiver.url, failing_since=func.now() - timedelta(days=4))
    receiver.answer(500)
    desk.submit()
    with sending(open_settings):
        wait_until(lambda: len(attempts(desk)) == 2)
    assert endpoint(desk, failing).disabled_reason == "failing"
    assert endpoint(desk, fresh).disabled_at is None
    assert {row.endpoint_id: row.status for row in rows(desk)} == {failing: "failed", fresh: "pending"}


def test_while_a_secret_is_changed_both_sign(
    open_settings: Settings, desk: Desk, receiver: Receiver, listen: Callable[..., str]
) -> None:
    key = SecretStr(Fernet.generate_key().decode())
    new, old, expired = new_secret(), new_secret(), new_secret()
    closed = Seal([key]).closed
    soon, past = func.now() + timedelta(hours=1), func.now() - timedelta(seconds=1)
    listen(receiver.url + "&both", secret=closed(new), old_secret=closed(old), old_secret_until=soon)
    listen(receiver.url + "&one", secret=closed(new), old_secret=closed(expired), old_secret_until=past)
    desk.submit()
    with sending(open_settings.model_copy(update={"encryption_keys": (key,)})):
        heard = receiver.wait_for(2)
    for request in heard:
        Webhook(new).verify(request["body"], request["headers"])
        other = old if request["path"].endswith("both") else expired
        if other is old:
            Webhook(old).verify(request["body"], request["headers"])
        else:
            with pytest.raises(WebhookVerificationError):
                Webhook(expired).verify(request["body"], request["headers"])


def test_a_secret_that_cannot_be_read_is_said_in_the_log_of_attempts(
    open_settings: Settings, desk: Desk, receiver: Receiver, listen: Callable[..., str]
) -> None:
    key = SecretStr(Fernet.generate_key().decode())
    listen(receiver.url, secret=Seal([key]).closed(new_secret()))
    desk.submit()
    with sending(open_settings):
        wait_until(lambda: len(attempts(desk)) == 1)
    assert "PRUNERY_ENCRYPTION_KEYS" in (attempts(desk)[0].error or "")
    assert receiver.heard == []


def test_long_metadata_is_left_out_rather_than_the_message(desk: Desk, listen: Callable[..., str]) -> None:
    listen("https://example.com/")
    desk.submit(**{f"{number:02}": "€" * 512 for number in range(16)})
    desk.submit(**{f"{number:02}": "€" * 512 for number in range(8)})
    long, short = (json.loads(row.body) for row in rows(desk))
    assert len(rows(desk)[1].body.encode()) < 20_000
    assert (long["data"]["metadata"], len(short["data"]["metadata"])) == (None, 8)


def test_a_slow_receiver_does_not_hold_up_another(
    open_settings: Settings, desk: Desk, tmp_path: Path, receiver: Receiver, listen: Callable[..., str]
) -> None:
    with Receiver(tmp_path / "slow") as slow:
        slow.answer(200, seconds=30)
        listen(slow.url)
        for _ in range(10):
            desk.submit()
        listen(receiver.url)
        desk.submit()
        settings = open_settings.model_copy(update={"webhook_senders": 3, "webhook_timeout_seconds": 10.0})
        with sending(settings):
            receiver.wait_for(1)
            assert len(slow.heard) <= 2


def test_several_senders_send_each_message_once(
    open_settings: Settings, desk: Desk, receiver: Receiver, listen: Callable[..., str]
) -> None:
    listen(receiver.url)
    for _ in range(30):
        desk.submit()
    with sending(open_settings), sending(open_settings):
        receiver.wait_for(30)
        wait_until(lambda: {row.status for row in rows(desk)} == {"delivered"})
    assert len({request["headers"]["webhook-id"] for request in receiver.heard}) == len(receiver.heard) == 30


def test_a_killed_sender_s_message_is_sent_by_another(
    open_settings: Settings, desk: Desk, receiver: Receiver, listen: Callable[..., str]
) -> None:
    listen(receiver.url)
    desk.submit()
    receiver.answer(200, seconds=30)
    variables = os.environ | {
        "PRUNERY_WEBHOOK_HTTP": "true",
        "PRUNERY_WEBHOOK_PORTS": "[]",
        "PRUNERY_WEBHOOK_NETWORKS": '["127.0.0.0/8"]',
    }
    with subprocess.Popen([sys.executable, "-m", "worker.webhooks"], env=variables) as sender:
        receiver.wait_for(1)
        sender.kill()
    receiver.answer(204)
    assert (rows(desk)[0].status, rows(desk)[0].attempts) == ("pending", 1)
    hurry(desk)
    with subprocess.Popen([sys.executable, "-m", "worker.webhooks"], env=variables) as sender:
        wait_until(lambda: rows(desk)[0].status == "delivered", 60)
        sender.send_signal(signal.SIGTERM)
        assert sender.wait(30) == 0
    first, second = receiver.heard
    assert first["headers"]["webhook-id"] == second["headers"]["webhook-id"]
