"""The API under fifty clients: with few jobs and with very many in turn, and what its submissions cost."""

import json
import os
import uuid
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from bench.figure import Figure
from bench.service import clients, multitude, orders
from bench.service.caller import JOBS, Caller
from bench.service.clients import Calls
from bench.service.multitude import Row
from bench.service.rows import settings_of
from cli.stack import Stack
from cli.stack.ports import free_block
from jobs import database

MANY, FEW = 100_000, 100
SLICES, SLICE_SECONDS = 3, 15.0
POLL_SECONDS = 0.5
SUBMIT_SECONDS = 10.0
SETTINGS = {"PRUNERY_LOCAL_ROOTS": '["/"]', "PRUNERY_RATE_LIMIT_REQUESTS": "0"}
GETS = ("job", "page", "filtered", "events")


def measure(folder: Path) -> Iterator[Figure]:
    """Two services without workers, side by side, one of them with a long past."""
    slices = 4 * SLICES if os.environ.get("ALL") == "1" else SLICES
    spec = orders.prepare(folder / "material").order(0).spec
    with (
        Stack(folder / "few", port=free_block(1)[0], workers=0, settings=SETTINGS) as few,
        Stack(folder / "many", port=free_block(1)[0], workers=0, settings=SETTINGS) as many,
    ):
        ids = [_fill(stack, spec, count) for stack, count in ((few, FEW), (many, MANY))]
        print(f"Stored {FEW} and {MANY:,} jobs", flush=True)
        calls = [Calls(), Calls()]
        for place in islice(cycle((0, 1)), 2 * slices):
            clients.poll(
                (few, many)[place],
                ids[place],
                json.dumps(spec),
                calls[place],
                seconds=SLICE_SECONDS,
                pause_seconds=POLL_SECONDS,
            )
        for kind in GETS:
            ratio = calls[1].p95(kind) / calls[0].p95(kind)
            print(f"p95 of {kind}: {calls[0].p95(kind) * 1e3:.1f} and {calls[1].p95(kind) * 1e3:.1f} ms", flush=True)
            yield Figure(f"load_{kind}_p95_over_few", ratio, "times", 2.0)
        yield from _submissions(many, spec, calls[1])
        yield Figure("load_server_errors", sum(each.refused_by_faults for each in calls), "answers", 0)


def _fill(stack: Stack, spec: dict[str, Any], count: int) -> list[str]:
    with Caller(stack.url, stack.api_key) as caller, multitude.connect(stack) as connection:
        return multitude.store(connection, caller.submit(spec)["id"], count)


def _submissions(stack: Stack, spec: dict[str, Any], calls: Calls) -> Iterator[Figure]:
    """Asking over HTTP against the bare INSERTs of the same rows, in turn."""
    job_id, rows = _rows_of_a_submission(stack, spec)
    print(f"A submission writes {', '.join(table for table, _ in rows)}", flush=True)
    engine = database.engine(settings_of(stack))
    asked, bare = [], []
    try:
        for _ in range(2):
            bare.append(clients.repeat(lambda: _insert(engine, job_id, rows), seconds=SUBMIT_SECONDS))
            mine = Calls()
            asked.append(clients.submit(stack, json.dumps(spec), mine, seconds=SUBMIT_SECONDS))
            calls.statuses += mine.statuses
    finally:
        engine.dispose()
    print(f"Submissions/s: {asked}; bare INSERTs of one: {bare}", flush=True)
    yield Figure("load_submissions_over_inserts", sum(asked) / sum(bare), "times", 0.3, at_least=True)


def _rows_of_a_submission(stack: Stack, spec: dict[str, Any]) -> tuple[str, list[tuple[str, Row]]]:
    """Every row that one submission leaves, whatever its table: those of the transaction that made the job."""
    # A doorbell that is rung is a row that is gone.
    stack.processes["relay"].suspend()
    try:
        with multitude.connect(stack) as connection:
            # As those that are counted are: without a key of its own.
            job_id = clients.Client(stack, Calls()).call("submit", "POST", JOBS, json.dumps(spec))["id"]
            return job_id, multitude.written_with(connection, job_id)
    finally:
        stack.processes["relay"].go_on()


def _insert(engine: Engine, job_id: str, rows: list[tuple[str, Row]]) -> None:
    """One transaction, one statement for each row."""
    new = f"cjob_{uuid.uuid4().hex}"
    with engine.begin() as connection:
        for table, row in rows:
            fresh = multitude.renamed(row, job_id, new)
            # What has a name of its own needs another one each time.
            fresh |= {name: uuid.uuid4().hex for name in ("id", "key") if name in row and fresh[name] == row[name]}
            names = ", ".join(fresh)
            places = ", ".join(f":{name}" for name in fresh)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), fresh)
