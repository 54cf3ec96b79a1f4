"""A client that asks again, not knowing what became of its first request."""

import threading
import uuid
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from bench.service import orders
from bench.service.caller import JOBS, Caller
from cli.stack import Stack
from tests.worker.desk import wait_until


@pytest.mark.parametrize("killed", ["before it is stored", "after it was stored"])
def test_a_request_whose_api_is_killed_takes_effect_once(stack: Stack, tmp_path: Path, killed: str) -> None:
    order = orders.prepare(tmp_path).order(0, "cancelled")
    dsn = stack.servers.postgres.url().replace("+psycopg", "", 1)
    key = {"Idempotency-Key": str(uuid.uuid4())}
    lost: list[Exception] = []

    def ask(client: httpx2.Client) -> None:
        try:
            client.post(JOBS, json=order.spec, headers=key)
        except httpx2.TransportError as error:
            lost.append(error)

    def jobs(watcher: "psycopg.Connection[Any]") -> int:
        query = "SELECT count(*) FROM jobs WHERE spec->'metadata'->>'order' = %s"
        return int(watcher.execute(query, [order.name]).fetchone()[0])

    headers = {"Authorization": f"Bearer {stack.api_key}"}
    with (
        httpx2.Client(base_url=stack.url, headers=headers, timeout=60, trust_env=False) as client,
        psycopg.connect(dsn) as gate,
        psycopg.connect(dsn, autocommit=True) as watcher,
    ):
        first = threading.Thread(target=ask, args=(client,))
        if killed == "before it is stored":
            gate.execute("LOCK TABLE outbox IN SHARE ROW EXCLUSIVE MODE")
            first.start()
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outbox'::regclass"
            wait_until(lambda: bool(watcher.execute(waiting).fetchone()[0]))
        else:
            first.start()
            wait_until(lambda: jobs(watcher) == 1)
        stack.processes["api"].kill()
        first.join()
        gate.rollback()
        assert len(lost) == 1 or killed == "after it was stored"
        stack.restart("api")
        stack.wait_for("api")
        with Caller(stack.url, stack.api_key) as caller:
            again = client.post(JOBS, json=order.spec, headers=key)
            assert again.status_code == 202, again.text
            assert ("Idempotent-Replayed" in again.headers) == (killed == "after it was stored")
            assert jobs(watcher) == 1
            assert caller.cancel(again.json()["id"]) == 200
            assert caller.wait(again.json()["id"], seconds=120)["status"] == "cancelled"
