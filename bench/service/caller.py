"""Somebody who uses the API while its parts come and go: what an outage swallows is asked again."""

import threading
import time
import uuid
from collections import Counter
from types import TracebackType
from typing import Any, Self

import httpx2

JOBS = "/v1/compression/jobs"
FINAL = frozenset({"succeeded", "failed", "cancelled"})
OUTAGES = frozenset({502, 503, 504})
PAUSE_SECONDS = 0.5

Json = dict[str, Any]


class OutOfPatience(Exception):
    """The service did not answer, or the job did not end, for too long."""


class Caller:
    """May be shared by threads. `answers` counts every status that came back."""

    def __init__(self, url: str, api_key: str, *, patience_seconds: float = 300.0) -> None:
        self._http = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=20.0, trust_env=False
        )
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self.answers: Counter[int] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def submit(self, spec: Json) -> Json:
        """Ask for a job once, however often that has to be said: each time under the same key."""
        answer = self._insist("POST", JOBS, json=spec, headers={"Idempotency-Key": str(uuid.uuid4())})
        if answer.status_code != 202:
            raise AssertionError(f"A sound job was refused: {answer.status_code} {answer.text}")
        return _object(answer)

    def get(self, job_id: str) -> Json:
        return self.read(f"{JOBS}/{job_id}")

    def read(self, path: str) -> Json:
        """The JSON that has to be there."""
        answer = self._insist("GET", path)
        if answer.status_code != 200:
            raise AssertionError(f"{path} cannot be read: {answer.status_code} {answer.text}")
        return _object(answer)

    def cancel(self, job_id: str) -> int:
        """The status of the answer: 200, or 409 where the job has ended."""
        return self._insist("POST", f"{JOBS}/{job_id}/cancel").status_code

    def wait(self, job_id: str, *statuses: str, seconds: float) -> Json:
        """Until it stands so, or has ended."""
        end = time.monotonic() + seconds
        while (job := self.get(job_id))["status"] not in FINAL | set(statuses):
            if time.monotonic() > end:
                raise OutOfPatience(f"{job_id} is {job['status']} ({job['phase']}) after {seconds:g} s")
            time.sleep(PAUSE_SECONDS)
        return job

    def _insist(self, method: str, path: str, **content: Any) -> httpx2.Response:
        end = time.monotonic() + self._patience_seconds
        while True:
            try:
                answer = self._http.request(method, path, **content)
            except httpx2.TransportError as error:
                said = repr(error)
            else:
                with self._lock:
                    self.answers[answer.status_code] += 1
                # 409 without an end to conflict with: the first call of this key is still being answered.
                if answer.status_code not in OUTAGES and "in_flight" not in answer.text:
                    return answer
                said = f"{answer.status_code} {answer.text}"
            if time.monotonic() > end:
                raise OutOfPatience(f"{method} {path}: {said}")
            time.sleep(PAUSE_SECONDS)


def _object(answer: httpx2.Response) -> Json:
    value: Json = answer.json()
    return value
