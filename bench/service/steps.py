"""How far each attempt at each job came, watched from outside while they run."""

import threading
from itertools import pairwise
from types import TracebackType
from typing import Self

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from jobs import database
from jobs.states import LEASED
from jobs.tables import JobRow

SAMPLE_SECONDS = 0.25


class Steps:
    """Samples the rows while the context is open; an outage of the database is sat out."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._spans: dict[str, dict[int, tuple[int, int]]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="steps", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def trained_again(self) -> list[int]:
        """For each attempt that followed another: the steps that both have taken, as far as they were seen."""
        attempts = [sorted(spans.items()) for spans in self._spans.values()]
        return [max(0, before[1] - after[0] + 1) for spans in attempts for (_, before), (_, after) in pairwise(spans)]

    def _watch(self) -> None:
        query = select(JobRow.id, JobRow.attempt, JobRow.progress["step"].as_integer()).where(
            JobRow.status.in_(LEASED), JobRow.progress.is_not(None)
        )
        while not self._over.wait(SAMPLE_SECONDS):
            try:
                with self._sessions() as session:
                    seen = session.execute(query).all()
            except database.OUTAGES:
                continue
            for job_id, attempt, step in seen:
                first, last = self._spans.setdefault(job_id, {}).get(attempt, (step, step))
                self._spans[job_id][attempt] = min(first, step), max(last, step)
