"""Wakes whoever waits for a job to change, at the price of one connection for all who wait in this process.

The database says which job has changed (LISTEN). That is a hint: it may be lost, and whoever waits is also looked after
every few seconds, all in one query. A waiting client holds neither a connection nor a thread.
"""

import asyncio
import logging
import time
from collections.abc import Collection
from typing import Any, NamedTuple, NoReturn, Self

import anyio
import psycopg
from anyio import to_thread
from sqlalchemy import Engine, make_url, select
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from jobs import database
from jobs.tables import JobRow

CHANNEL = "job_changes"
LOOK_SECONDS = 2.0
# Changes that come together are looked at together.
GATHER_SECONDS = 0.05

logger = logging.getLogger(__name__)


class Mark(NamedTuple):
    """How far a job had come when it was read."""

    version: int
    seq: int

    @classmethod
    def of(cls, row: JobRow) -> Self:
        return cls(row.version, row.last_seq)


class _Waiter:
    def __init__(self, mark: Mark) -> None:
        self.mark = mark
        self.woken = asyncio.Event()


class Changes:
    """Used from the event loop only. Nothing is noticed unless `run` runs."""

    def __init__(self, engine: Engine, sessions: sessionmaker[Session]) -> None:
        self._url = engine.url
        self._sessions = sessions
        self._waiters: dict[str, set[_Waiter]] = {}
        self._due: set[str] = set()
        self._bell = asyncio.Event()
        self.closing = False

    async def since(self, job_id: str, mark: Mark) -> None:
        """Returns when the job has changed since it was read at `mark`, is gone, or everything is to end."""
        waiter = _Waiter(mark)
        waiters = self._waiters.setdefault(job_id, set())
        waiters.add(waiter)
        self._ring(job_id)  # it may have changed between the reading and now
        try:
            if not self.closing:
                await waiter.woken.wait()
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiters.get(job_id) is waiters:
                del self._waiters[job_id]

    def close(self) -> None:
        """Wake everybody, and let nobody wait any more: the process is to end."""
        self.closing = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            tasks.start_soon(self._look)

    def _ring(self, job_id: str) -> None:
        self._due.add(job_id)
        self._bell.set()

    async def _listen(self) -> NoReturn:
        told = False
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(**self._address(), autocommit=True) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    told = False
                    async for notice in connection.notifies():
                        if notice.payload in self._waiters:
                            self._ring(notice.payload)
            except psycopg.Error as error:
                if not told:
                    logger.warning("no word of changes from the database; looking every few seconds: %s", error)
                told = True
            await anyio.sleep(LOOK_SECONDS)

    def _address(self) -> dict[str, Any]:
        url = make_url(self._url)
        address = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
        return {**address, "dbname": url.database, **url.query, **database.CONNECTION}

    async def _look(self) -> NoReturn:
        look_at_all = time.monotonic() + LOOK_SECONDS
        while True:
            with anyio.move_on_after(look_at_all - time.monotonic()):
                await self._bell.wait()
            await anyio.sleep(GATHER_SECONDS)
            self._bell.clear()
            due, self._due = self._due & self._waiters.keys(), set()
            if time.monotonic() >= look_at_all:
                look_at_all = time.monotonic() + LOOK_SECONDS
                due = set(self._waiters)
            if due:
                await self._wake_changed(due)

    async def _wake_changed(self, ids: Collection[str]) -> None:
        try:
            marks = await to_thread.run_sync(self._marks, ids)
        except (*database.OUTAGES, PoolTimeout) as error:
            logger.warning("the database does not answer whether jobs have changed: %s", error)
            return
        for job_id in ids:
            for waiter in self._waiters.get(job_id, ()):
                if marks.get(job_id) != waiter.mark:
                    waiter.woken.set()

    def _marks(self, ids: Collection[str]) -> dict[str, Mark]:
        query = select(JobRow.id, JobRow.version, JobRow.last_seq).where(JobRow.id.in_(ids))
        with self._sessions() as session:
            return {id: Mark(version, seq) for id, version, seq in session.execute(query)}
