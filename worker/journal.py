"""What the engine says, written to the job's row and events by a thread of its own, at most once a second."""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable

from sqlalchemy.orm import Session, sessionmaker

from jobs import database, held_models, logs, meters, tracing
from jobs.states import PHASES, Status
from jobs.tables import Json
from jobs.transitions import Event
from worker import leases, series
from worker.lease import Lease
from worker.leases import Claim
from worker.process import Line
from worker.storable import storable

WRITE_SECONDS = 1.0
MAX_LOG_LINES = 5_000
MAX_BATCH_CHARACTERS = 8_192
EXCERPT_LINES = 20

_log = logging.getLogger(__name__)


class Journal:
    """Takes lines without ever waiting for the database; `close` writes what is left."""

    def __init__(self, sessions: sessionmaker[Session], claim: Claim, lease: Lease) -> None:
        self._sessions = sessions
        self._claim = claim
        self._lease = lease
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._phase = PHASES[0]
        self._progress: Json | None = None
        self._moved = False
        self._stay: _Stay | None = None
        self._stays: list[_Stay] = []  # those that are over
        self._points: list[series.Point] = []
        self._measured = False  # by this attempt, in the database
        self._log_lines = 0
        self._excerpt: deque[str] = deque(maxlen=EXCERPT_LINES)
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=logs.carried(self._write_until_closed), name=f"journal of {claim.job_id}", daemon=True
        )
        self._thread.start()

    @property
    def phase(self) -> str:
        """The phase that the job is in."""
        return self._phase

    @property
    def excerpt(self) -> tuple[str, ...]:
        """The last lines that the engine wrote to standard output or error."""
        return tuple(self._excerpt)

    def take(self, lines: Iterable[Line]) -> None:
        """Note what the engine wrote."""
        for line in lines:
            if line.source == "output":
                self._note_output(line.text)
            else:
                self._note_event(line.text)

    def enter(self, phase: str) -> None:
        """Note that the job is in another phase."""
        with self._lock:
            self._leave()
            self._stay = _Stay(phase)
            self._phase, self._moved = phase, True
            self._events.append(("phase", {"phase": phase}))

    def close(self) -> None:
        """Write what is left, unless the job is lost meanwhile."""
        with self._lock:
            self._leave()
        self._closed.set()
        while self._thread.is_alive() and not self._lease.lost:
            self._thread.join(timeout=0.2)

    def _leave(self) -> None:
        if self._stay is not None:
            self._stay.end()
            self._stays.append(self._stay)
            self._stay = None

    def _note_event(self, text: str) -> None:
        try:
            event = storable(json.loads(text))
        except ValueError:
            event = None
        type_ = event.pop("type", None) if isinstance(event, dict) else None
        match type_:
            case "phase":
                self.enter(str(event.get("phase")))
            case "progress":
                with self._lock:
                    self._progress, self._moved = event, True
                    self._points += series.points(event)
            case "log":
                if self._may_log():
                    with self._lock:
                        self._events.append(("log", event))
            case str() if type_ not in set(Status):
                with self._lock:
                    self._events.append((type_, event))
                    if type_ == "prune" and self._progress is not None:
                        # What is gone is gone at once, though the step that it belongs to may take long to end.
                        self._progress, self._moved = self._progress | {"sparsity": event["sparsity"]}, True
            case _:
                self._note_output(f"The engine reported something unreadable: {text[:200]}")

    def _note_output(self, text: str) -> None:
        text = storable(text)
        self._excerpt.append(text)
        if not self._may_log():
            return
        with self._lock:
            type_, data = self._events[-1] if self._events else ("", {})
            if type_ == "log" and data.get("level") == "stderr" and len(data["message"]) < MAX_BATCH_CHARACTERS:
                data["message"] += "\n" + text
            else:
                self._events.append(("log", {"level": "stderr", "message": text}))

    def _may_log(self) -> bool:
        self._log_lines += 1
        if self._log_lines == MAX_LOG_LINES:
            message = f"This attempt wrote {MAX_LOG_LINES} log lines; later ones are left out."
            with self._lock:
                self._events.append(("log", {"level": "warning", "message": message}))
        return self._log_lines < MAX_LOG_LINES

    def _write_until_closed(self) -> None:
        closing = False
        while not (closing or self._lease.lost):
            closing = self._closed.wait(WRITE_SECONDS)
            try:
                self._write()
            except database.OUTAGES as error:
                _log.warning("%s: its progress waits, the database does not answer: %s", self._claim.job_id, error)
                time.sleep(WRITE_SECONDS)
                closing = False
            except Exception:
                # Hours of work must not end for want of a log line.
                _log.exception("%s: its journal ends here", self._claim.job_id)
                return

    def _write(self) -> None:
        with self._lock:
            # A batch that is being written must not grow any more; should it fail, it stays in front.
            events, self._events = self._events, []
            points, self._points = self._points, []
            stays, self._stays = self._stays, []
            phase, progress, moved = self._phase, self._progress, self._moved
            self._moved = False
        if not (events or moved or stays):
            return
        try:
            with self._sessions.begin() as session:
                held = not events or leases.append(session, self._claim, events)
                held = held and (not moved or leases.progress(session, self._claim, phase, progress))
                if held:  # by the lock that one of these has on the job
                    for data in (data for type_, data in events if type_ == "base_model_kept"):
                        source = self._claim.spec["base_model"]["id"]
                        held_models.record_copy(session, source, data["commit"], held_models.of_json(data["files"]))
                    series.write(session, self._claim.job_id, points, anew=not self._measured)
                    for stay in stays:
                        meters.observe(session, meters.PHASES, stay.seconds, phase=stay.phase)
            self._measured |= bool(points)
        except database.OUTAGES:
            with self._lock:
                self._events = events + self._events
                self._points = points + self._points
                self._stays = stays + self._stays
                self._moved |= moved
            raise
        if not held:
            self._lease.fence()


class _Stay:
    """The time that a job spends in a phase."""

    def __init__(self, phase: str) -> None:
        self.phase = phase if phase in PHASES else "other"
        self.seconds = 0.0
        self._span = tracing.begin(f"phase {self.phase}")
        self._began = time.monotonic()

    def end(self) -> None:
        self.seconds = time.monotonic() - self._began
        self._span.end()
