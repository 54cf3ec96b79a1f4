"""Very many jobs at once, as if a service had run for long: copies of one that came in through the API."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cli.stack import Stack

SECONDS_APART = 20
EVENTS = ("queued", "running", "phase", "phase", "succeeded")

Row = dict[str, Any]


def connect(stack: Stack) -> "psycopg.Connection[Row]":
    dsn = stack.servers.postgres.url().replace("+psycopg", "", 1)
    return psycopg.connect(dsn, row_factory=dict_row, autocommit=True)


def store(connection: "psycopg.Connection[Row]", job_id: str, count: int) -> list[str]:
    """Add `count` jobs like this one, of which two in a hundred still wait; their ids, the oldest first."""
    job = _one(connection, "SELECT * FROM jobs WHERE id = %s", job_id)
    event = _one(connection, "SELECT * FROM job_events WHERE job_id = %s AND seq = 1", job_id)
    ids = [f"{job_id[:-7]}{number:07d}" for number in range(count)]
    with connection.transaction():
        _copy(connection, "jobs", (_job(job, id, number, count) for number, id in enumerate(ids)))
        _copy(connection, "job_events", itertools.chain.from_iterable(_events(event, id) for id in ids))
    connection.execute("VACUUM (ANALYZE)")
    return ids


def _one(connection: "psycopg.Connection[Row]", query: str, *values: str) -> Row:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None, query
    return row


def _job(like: Row, id: str, number: int, count: int) -> Row:
    created: datetime = like["created_at"] - timedelta(seconds=SECONDS_APART * (count - number))
    times = {"created_at": created, "queued_at": created}
    if number % 50 == 0:
        return like | times | {"id": id}
    status = ("succeeded", "succeeded", "failed", "cancelled")[number % 4]
    ended = {"status": status, "started_at": created, "finished_at": created, "attempt": 1, "last_seq": len(EVENTS)}
    return like | times | ended | {"id": id, "progress": {"step": 100, "total_steps": 100, "percent": 100.0}}


def _events(like: Row, id: str) -> Iterator[Row]:
    for seq, kind in enumerate(EVENTS, start=1):
        yield like | {"job_id": id, "seq": seq, "type": kind, "data": {"phase": "pruning"} if kind == "phase" else {}}


def _copy(connection: "psycopg.Connection[Row]", table: str, rows: Iterator[Row]) -> None:
    first = next(rows)
    columns = sql.SQL(", ").join(map(sql.Identifier, first))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in itertools.chain([first], rows):
            copy.write_row([Jsonb(value) if isinstance(value, dict | list) else value for value in row.values()])


def written_with(connection: "psycopg.Connection[Row]", job_id: str) -> list[tuple[str, Row]]:
    """Every row of the transaction that made the job, with its table, a job before what refers to it."""
    mine = "(SELECT xmin::text FROM jobs WHERE id = %s)"
    tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    found: list[tuple[str, Row]] = []
    for table in sorted((row["tablename"] for row in tables), key=lambda name: (name != "jobs", name)):
        query = sql.SQL("SELECT * FROM {} WHERE xmin::text = " + mine).format(sql.Identifier(table))
        by_database = _filled_by_database(connection, table)
        for row in connection.execute(query, [job_id]):
            found.append((table, {name: value for name, value in row.items() if name not in by_database}))
    return found


def _filled_by_database(connection: "psycopg.Connection[Row]", table: str) -> set[str]:
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_identity = 'YES'"
    return {row["column_name"] for row in connection.execute(query, [table])}


def renamed(row: Row, old: str, new: str) -> Row:
    """The row of another job: with `new` wherever it says `old`."""

    def rename(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(old, new)
        return Jsonb(value) if isinstance(value, dict | list) else value

    return {name: rename(value) for name, value in row.items()}
