"""Sends what webhooks have to tell: `python -m worker.webhooks`. Any number of these processes may run at once."""

import contextlib
import logging
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

from opentelemetry.trace import SpanKind

from jobs import database, logs, meters, tracing
from jobs.egress import Egress
from jobs.errors import SecretUnreadable
from jobs.sealing import Seal
from jobs.settings import Settings, load
from worker import deliveries, pulse, signatures
from worker.deliveries import Answer, Message
from worker.post import Post, Resolve, resolve

# A receiver that is slow must not hold up the others.
MOST_TO_ONE_ENDPOINT = 2
SEEN_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Sender:
    """Takes one message after the other, and sends several at once."""

    def __init__(self, settings: Settings, resolve: Resolve = resolve) -> None:
        self._settings = settings
        self._engine = database.engine(settings)
        self._sessions = database.sessions(self._engine)
        self._seal = Seal(settings.encryption_keys)
        self._post = Post(Egress(settings), settings.webhook_timeout_seconds, resolve)
        self._free = threading.Semaphore(settings.webhook_senders)
        self._under_way: Counter[str] = Counter()  # by endpoint
        self._lock = threading.Lock()
        self._silent = False
        self._show_at = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set and what was begun has ended."""
        with ThreadPoolExecutor(self._settings.webhook_senders) as pool:
            while not stop.is_set():
                pulse.beat(self._settings.pulse_file)
                self._show_life()
                if not self._free.acquire(timeout=self._settings.webhook_seconds):
                    continue
                message = self._take()
                if message is None:
                    self._free.release()
                    stop.wait(self._settings.webhook_seconds)
                else:
                    pool.submit(self._deliver, message)
        self._engine.dispose()

    def _show_life(self) -> None:
        if time.monotonic() < self._show_at:
            return
        self._show_at = time.monotonic() + SEEN_SECONDS
        with contextlib.suppress(*database.OUTAGES), self._sessions.begin() as session:  # told of by the next `_take`
            meters.seen(session, "webhooks")

    def _take(self) -> Message | None:
        with self._lock:
            busy = [endpoint for endpoint, number in self._under_way.items() if number >= MOST_TO_ONE_ENDPOINT]
        try:
            with self._sessions.begin() as session:
                message = deliveries.take(session, busy)
        except database.OUTAGES as error:
            if not self._silent:
                _log.warning("The database does not answer; asking again until it does: %s", error)
            self._silent = True
            return None
        self._silent = False
        if message is not None:
            with self._lock:
                self._under_way[message.endpoint_id] += 1
        return message

    def _deliver(self, message: Message) -> None:
        try:
            answer = self._send(message)
            with self._sessions.begin() as session:
                deliveries.settle(session, message, answer)
            outcome = f"status {answer.status}" if answer.error is None else answer.error
            _log.info("%s to %s, attempt %d: %s", message.id, message.endpoint_id, message.attempt, outcome)
        except Exception:
            # It is sent again once nobody counts as sending it: receivers know it by its id.
            _log.exception("%s: its attempt %d could not be settled", message.id, message.attempt)
        finally:
            with self._lock:
                self._under_way[message.endpoint_id] -= 1
                if not self._under_way[message.endpoint_id]:
                    del self._under_way[message.endpoint_id]
            self._free.release()

    def _send(self, message: Message) -> Answer:
        try:
            secrets = [self._seal.opened(secret) for secret in message.secrets]
        except SecretUnreadable as error:
            return Answer(status=None, seconds=0.0, error=str(error))
        body = message.body.encode()
        headers = signatures.headers(
            message.id, message.type, body, secrets, now=int(time.time()), subject=message.job_id
        )
        about = {"http.request.method": "POST", "prunery.webhook.id": message.id, "prunery.webhook.type": message.type}
        with tracing.span("send webhook", about, parent=message.traceparent, kind=SpanKind.CLIENT) as span:
            answer = self._post(message.url, {**headers, **tracing.carrier()}, body)
            if not answer.ok:
                tracing.fail(span, answer.error or f"status {answer.status}")
        return answer


def main() -> None:
    settings = load()
    logs.install(settings)
    tracing.install("webhooks")
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    sender = Sender(settings)
    _log.info("The sender of webhooks listens")
    sender.run(stop)


if __name__ == "__main__":
    main()
