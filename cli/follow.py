"""Follow a job until it ends, over restarts of the service."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from cli.client import Client, ClientError, Refused, is_outage
from cli.progress import QUEUED, Display
from cli.resources import Event, Job, Progress
from cli.stream import Message
from jobs.states import PHASES, Status

POLL_SECONDS = 1.0
# The first pause is short, for a connection that broke; a restart takes longer.
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
PATIENCE_SECONDS = 600.0

T = TypeVar("T")


def patiently(call: Callable[[], T], note: Callable[[str], None], *, patience: float = PATIENCE_SECONDS) -> T:
    """The answer of `call`, tried again while the service is away.

    Raises:
        ClientError: refused, or away for longer than `patience` seconds.
    """
    pauses = iter(PAUSES)
    gone_since: float | None = None
    while True:
        try:
            answer = call()
        except ClientError as error:
            if not is_outage(error):
                raise
            if gone_since is None:
                gone_since = time.monotonic()
                note(f"{error} The job is not affected; trying again.")
            elif time.monotonic() - gone_since > patience:
                raise
            time.sleep(next(pauses, PAUSES[-1]))
        else:
            if gone_since is not None:
                note("The service answers again.")
            return answer


class Follower:
    """Shows on `display` what happens to one job.

    Args:
        patience: Seconds for which the service may be away, before its absence is an error.
        check: Called between two looks at the job; may raise to end it.
    """

    def __init__(
        self,
        client: Client,
        display: Display,
        *,
        patience: float = PATIENCE_SECONDS,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._display = display
        self._patience = patience
        self._check = check
        self._seen = 0
        self._streams = True

    def follow(self, job_id: str) -> Job:
        """The job as it was at its end.

        Raises:
            Refused: there is no such job, or the key is wrong.
            Unreachable: nothing answers at the first request, or for longer than `patience`.
        """
        job = self._client.get(job_id)
        while True:
            self._catch_up(job)
            if job.finished:
                self._display.finish(job.finished_at or datetime.now(UTC), succeeded=job.status is Status.SUCCEEDED)
                return job
            self._listen(job_id)
            self._check()
            job = patiently(lambda: self._client.get(job_id), self._display.note, patience=self._patience)

    def _listen(self, job_id: str) -> None:
        """Show what is told until the job has ended or the stream breaks off; where none comes through, wait."""
        if not self._streams:
            time.sleep(POLL_SECONDS)
            return
        has_come = False
        try:
            with self._client.stream(job_id, after=self._seen) as messages:
                for message in messages:
                    has_come = True
                    self._check()
                    if message.event == "done":
                        return
                    self._show(message)
        except ClientError as error:
            if not (isinstance(error, Refused) or is_outage(error)):
                raise
        # A proxy may keep back what goes on without end, and an older service has no such route.
        self._streams = has_come
        time.sleep(POLL_SECONDS)

    def _show(self, message: Message) -> None:
        if message.event == "progress":
            self._display.progress(Progress.model_validate_json(message.data))
        elif message.id is not None:
            event = Event.model_validate_json(message.data)
            self._seen = event.seq
            tell(self._display, event)

    def _catch_up(self, job: Job) -> None:
        fresh = patiently(
            lambda: list(self._client.events(job.id, after=self._seen)), self._display.note, patience=self._patience
        )
        for event in fresh:
            self._seen = event.seq
            tell(self._display, event)
        if job.status is Status.RUNNING:
            self._display.progress(job.progress or Progress())


def tell(display: Display, event: Event) -> None:
    """Show what one event means to someone who watches."""
    match event.type:
        case "queued":
            if reason := event.data.get("reason"):
                display.finish(event.at, succeeded=False)
                display.note(f"The job went back to the queue ({reason}).")
            display.phase(QUEUED, event.at)
        case "running":
            display.phase(PHASES[0], event.at)
        case "phase":
            display.phase(str(event.data.get("phase")), event.at)
        case "pausing":
            display.note("The worker was told to write a checkpoint and let go.")
        case "paused":
            display.finish(event.at, succeeded=False)
            display.note("The job is paused: it rests until somebody resumes it.")
        case "finish_requested":
            display.note("The worker was told to stop training and publish what there is.")
        case "cancelling":
            display.note("The worker was told to stop.")
        case "log" if event.data.get("level") in ("warning", "error"):
            display.note(str(event.data.get("message")))
