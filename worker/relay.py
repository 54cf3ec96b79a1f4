"""Carries doorbells from the outbox to the broker, and calls the reaper: `python -m worker.relay`."""

import logging
import signal
import threading
import time
from types import FrameType

from jobs import database, logs, meters, tracing
from jobs.settings import Settings, load
from worker import collect, outbox, pulse, queue, reaper, replays
from worker.outbox import Bell

BATCH = 100

_log = logging.getLogger(__name__)


class Relay:
    """One loop over both. It outlives outages of either side, and says so once per outage."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = database.engine(settings)
        self._sessions = database.sessions(self._engine)
        self._celery = queue.application(settings)
        self._reap_at = time.monotonic()
        self._outages: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        while not stop.wait(self._settings.relay_seconds):
            pulse.beat(self._settings.pulse_file)
            try:
                self.step()
            except database.OUTAGES as error:
                self._went("database", error)
            else:
                self._came_back("database")
        self._engine.dispose()

    def step(self) -> None:
        """Ring what is to be rung, and reap if it is time."""
        while self._ring(BATCH) == BATCH:
            pass
        if time.monotonic() >= self._reap_at:
            self._reap_at = time.monotonic() + self._settings.reap_seconds
            reaper.reap(self._sessions, self._settings)
            with self._sessions.begin() as session:
                replays.forget(session)
                meters.seen(session, "relay")

    def _ring(self, limit: int) -> int:
        """How many doorbells were rung; the others stay in the outbox."""
        rung: list[Bell] = []
        with self._sessions.begin() as session:
            for bell in outbox.unsent(session, limit):
                try:
                    queue.send(self._celery, bell.job_id, bell.traceparent)
                except queue.BrokerUnavailable as error:
                    self._went("broker", error)
                    break
                self._came_back("broker")
                rung.append(bell)
            if rung:
                outbox.discard(session, rung)
        return len(rung)

    def _went(self, part: str, error: Exception) -> None:
        if part not in self._outages:
            _log.warning("The %s does not answer; asking again until it does: %s", part, error)
        self._outages.add(part)

    def _came_back(self, part: str) -> None:
        if part in self._outages:
            _log.info("The %s answers again", part)
        self._outages.discard(part)


def main() -> None:
    settings = load()
    logs.install(settings)
    tracing.install("relay")
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    relay = Relay(settings)
    # A thread of its own: it takes long, and bells must not wait for it.
    threading.Thread(target=collect.run, args=(settings, stop), name="collector", daemon=True).start()
    _log.info("The relay listens")
    relay.run(stop)


if __name__ == "__main__":
    main()
