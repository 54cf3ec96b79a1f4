"""A typed client of Prunery's HTTP API."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import ValidationError

from cli.connection import Connection
from cli.resources import (
    Artifact,
    ArtifactList,
    Checkpoint,
    CheckpointList,
    Event,
    EventPage,
    Item,
    Job,
    ListPage,
    Problem,
    Resource,
    UploadedFile,
    Waiting,
)
from cli.stream import Message, messages
from jobs.errors import RequestInFlight
from jobs.states import Verb

JOBS = "/v1/compression/jobs"
CHUNK_BYTES = 1 << 20
# After the last byte of an upload the service still has to finish storing it.
TIMEOUT = httpx2.Timeout(60.0, connect=5.0)
OUTAGES = frozenset({500, 502, 503, 504})

Advance = Callable[[int], None]
Answer = TypeVar("Answer", bound=Resource)


class ClientError(Exception):
    """The service could not do what was asked."""


class Unreachable(ClientError):
    """Nothing answers, or not in time."""


class Absent(Unreachable):
    """Nothing is there that could have heard the request."""


class Refused(ClientError):
    """The service answered with a problem document."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem


class Client:
    """Close it, or use it as a context manager."""

    def __init__(self, connection: Connection) -> None:
        self.url = connection.url.rstrip("/")
        host = httpx2.URL(self.url).host
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {connection.api_key}", "User-Agent": "prunery-cli"},
            timeout=TIMEOUT,
            # A proxy for the world outside cannot reach a service on this machine.
            trust_env=host not in ("localhost", "127.0.0.1", "::1"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def upload(self, path: Path, advance: Advance = lambda count: None) -> UploadedFile:
        """Store a training text; `advance` is called with the number of bytes just sent."""
        headers = {"Content-Length": str(path.stat().st_size), "Content-Type": "application/octet-stream"}
        return self.call(
            UploadedFile,
            "POST",
            "/v1/files",
            params={"name": path.name},
            content=_chunks(path, advance),
            headers=headers,
        )

    def create(self, spec: Mapping[str, Any], *, key: str | None = None) -> Job:
        """`key`: of the request; sent again with the same one, it makes no second job."""
        headers = {"Idempotency-Key": key} if key else {}
        return self.call(Job, "POST", JOBS, json=spec, headers=headers)

    def get(self, job_id: str) -> Job:
        return self.call(Job, "GET", _job(job_id))

    def list(self, *, status: str | None = None, page_size: int = 100) -> Iterator[Job]:
        """All jobs, the newest first; pages are asked for as they are needed."""
        return self.pages(Job, JOBS, {"status": status} if status else {}, page_size=page_size)

    def waiting(self, job_id: str) -> Waiting:
        return self.call(Waiting, "GET", f"{_job(job_id)}/waiting")

    def act(self, job_id: str, verb: Verb, body: Mapping[str, Any]) -> Job:
        return self.call(Job, "POST", f"{_job(job_id)}/{verb}", json=body)

    def checkpoints(self, job_id: str) -> tuple[Checkpoint, ...]:
        """What a job can go on from, the oldest first."""
        return self.call(CheckpointList, "GET", f"{_job(job_id)}/checkpoints").data

    def publish(self, job_id: str, number: int, body: Mapping[str, Any], *, key: str) -> Job:
        """The job that makes a model of a checkpoint; `key`: as of `create`."""
        headers = {"Idempotency-Key": key}
        return self.call(Job, "POST", f"{_job(job_id)}/checkpoints/{number}/publish", json=body, headers=headers)

    def change(self, job_id: str, patch: Mapping[str, Any]) -> Job:
        return self.call(Job, "PATCH", _job(job_id), json=patch)

    def events(self, job_id: str, *, after: int = 0, page_size: int = 100) -> Iterator[Event]:
        """What has happened since event `after`, up to now."""
        while True:
            page = self.call(EventPage, "GET", f"{_job(job_id)}/events", params={"after": after, "limit": page_size})
            yield from page.data
            if not page.has_more or not page.data:
                return
            after = page.data[-1].seq

    @contextmanager
    def stream(self, job_id: str, *, after: int = 0) -> Iterator[Iterator[Message]]:
        """What happens to a job after event `after`, as it happens, until its end.

        Raises:
            Refused, Unreachable: also when the connection breaks while it is read, or nothing comes for long.
        """
        url, params = f"{_job(job_id)}/stream", {"after": after}
        with _transport_errors(self.url), self._http.stream("GET", url, params=params) as response:
            yield messages(_checked(response).iter_lines())

    def artifacts(self, job_id: str) -> tuple[Artifact, ...]:
        return self.call(ArtifactList, "GET", f"{_job(job_id)}/artifacts").data

    @contextmanager
    def artifact(self, job_id: str, path: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """The open response with one artifact's bytes, from the service or from where it points to.

        Raises:
            Refused, Unreachable: also when the connection breaks while the response is read.
        """
        url = f"{_job(job_id)}/artifacts/{_quoted(path)}"
        with _transport_errors(self.url), self._http.stream("GET", url, headers=dict(headers)) as response:
            if response.next_request is None:
                yield _checked(response)
                return
            elsewhere = response.next_request
        # The storage's own ETag is another one, and its signed link stands for the key.
        elsewhere.headers.pop("If-Range", None)
        elsewhere.headers.pop("Authorization", None)
        with _transport_errors(str(elsewhere.url.copy_with(query=None))):
            response = self._http.send(elsewhere, stream=True)
            try:
                yield _checked(response)
            finally:
                response.close()

    def delete(self, path: str) -> None:
        with _transport_errors(self.url):
            response = self._http.delete(path)
        _checked(response)

    def call(self, answer: type[Answer], method: str, path: str, **request: Any) -> Answer:
        """Ask for something that is answered with JSON."""
        with _transport_errors(self.url):
            response = self._http.request(method, path, **request)
        _checked(response)
        try:
            return answer.model_validate_json(response.content)
        except ValidationError as error:
            raise ClientError(f"{self.url} does not answer as a Prunery service does: {error}") from error

    def pages(
        self, kind: type[Item], path: str, filters: Mapping[str, str] | None = None, *, page_size: int = 100
    ) -> Iterator[Item]:
        """All members of a list; its pages are asked for as they are needed."""
        part: type[ListPage[Item]] = ListPage[kind]  # type: ignore[valid-type]
        params: dict[str, str | int] = {"limit": page_size, **(filters or {})}
        while True:
            page = self.call(part, "GET", path, params=params)
            yield from page.data
            if not page.has_more or page.last_id is None:
                return
            params["after"] = page.last_id


@contextmanager
def _transport_errors(url: str) -> Iterator[None]:
    try:
        yield
    except httpx2.ConnectError as error:
        raise Absent(f"Nothing answers at {url} ({error}).") from error
    except httpx2.TimeoutException as error:
        raise Unreachable(f"{url} does not answer in time.") from error
    except httpx2.TransportError as error:
        raise Unreachable(f"The connection to {url} broke: {error}.") from error


def _checked(response: httpx2.Response) -> httpx2.Response:
    if not response.is_success:
        raise Refused(_problem(response))
    return response


def _problem(response: httpx2.Response) -> Problem:
    body = response.read()
    try:
        return Problem.model_validate(json.loads(body))
    except ValueError:
        # A proxy in between, or another program at this address.
        return Problem(
            status=response.status_code,
            title=f"HTTP {response.status_code}",
            detail=body.decode(errors="replace")[:500],
        )


def is_outage(error: ClientError) -> bool:
    """Whether the same request may work in a moment."""
    if isinstance(error, Refused):
        return error.problem.status in OUTAGES or error.problem.code == RequestInFlight.code
    return isinstance(error, Unreachable)


def _job(job_id: str) -> str:
    return f"{JOBS}/{_quoted(job_id, keep='')}"


def _quoted(text: str, keep: str = "/") -> str:
    return quote(text, safe=keep)


def _chunks(path: Path, advance: Advance) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            advance(len(chunk))
