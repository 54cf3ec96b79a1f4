"""Fifty clients at once, each on a connection of its own, and how long each of their calls took."""

import http.client
import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from bench.service.caller import JOBS, Json
from cli.stack import Stack

CLIENTS = 50


class Calls:
    """What came of the calls of all clients: statuses, and seconds by the kind of call."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def note(self, kind: str, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.seconds[kind].append(seconds)

    @property
    def refused_by_faults(self) -> int:
        return sum(count for status, count in self.statuses.items() if status >= 500)

    def p95(self, kind: str) -> float:
        ordered = sorted(self.seconds[kind])
        return ordered[int(0.95 * len(ordered))]


class Client:
    """One connection, kept open. Nothing is tried twice."""

    def __init__(self, stack: Stack, calls: Calls) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=60)
        self._headers = {"Authorization": f"Bearer {stack.api_key}", "Content-Type": "application/json"}
        self._calls = calls

    def call(self, kind: str, method: str, path: str, body: str | bytes | None = None) -> Json:
        began = time.perf_counter()
        self._connection.request(method, path, body, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        self._calls.note(kind, answer.status, time.perf_counter() - began)
        value: Json = json.loads(content)
        return value


def poll(stack: Stack, ids: list[str], spec: str, calls: Calls, *, seconds: float, pause_seconds: float) -> None:
    """Each client looks at jobs, lists and events, and now and then asks for a job."""
    chance = random.Random(len(ids))

    def walk(client: Client) -> None:
        time.sleep(chance.uniform(0, pause_seconds))
        for _ in _until(seconds):
            job = chance.choice(ids)
            match chance.choices(("job", "page", "filtered", "events", "submit"), (50, 15, 15, 15, 5))[0]:
                case "job":
                    client.call("job", "GET", f"{JOBS}/{job}")
                case "page":
                    client.call("page", "GET", f"{JOBS}?limit=20&after={job}")
                case "filtered":
                    client.call("filtered", "GET", f"{JOBS}?limit=20&status=failed&after={job}")
                case "events":
                    client.call("events", "GET", f"{JOBS}/{job}/events?limit=100")
                case _:
                    client.call("submit", "POST", JOBS, spec)
            time.sleep(chance.uniform(0.5, 1.5) * pause_seconds)

    _all_at_once(stack, calls, walk)


def submit(stack: Stack, spec: str, calls: Calls, *, seconds: float) -> float:
    """Each client asks for one job after another; jobs accepted per second."""
    began = time.monotonic()

    def walk(client: Client) -> None:
        for _ in _until(seconds):
            client.call("submit", "POST", JOBS, spec)

    _all_at_once(stack, calls, walk)
    return calls.statuses[202] / (time.monotonic() - began)


def repeat(work: Callable[[], None], *, seconds: float) -> float:
    """Has as many threads as there are clients do the work over and over; times per second."""
    done: Counter[str] = Counter()
    lock = threading.Lock()

    def walk(number: int) -> None:
        for _ in _until(seconds):
            work()
            with lock:
                done["times"] += 1

    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(walk, range(CLIENTS)))
    return done["times"] / (time.monotonic() - began)


def _all_at_once(stack: Stack, calls: Calls, walk: Callable[[Client], None]) -> None:
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(walk, [Client(stack, calls) for _ in range(CLIENTS)]))


def _until(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
