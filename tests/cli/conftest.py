"""`service` (test): the real API in a process of its own, and the worker's side of its jobs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app import store
from cli.stack import ports
from jobs import database
from jobs.files import Files, blob_key
from jobs.settings import Settings
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT, EventRow
from tests import revisions
from worker import leases
from worker.leases import Claim

SPEC: dict[str, Any] = {
    "base_model": {"source": "hub", "id": "someone/something"},
    "dataset": {"source": "file", "id": "file_1"},
    "method": {"type": "lora_prune", "ratio": 0.3},
}
PRUNERY = [sys.executable, "-m", "cli"]


class Service:
    """An API that can be killed and started again, and what a worker would do behind it."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self.log = log
        (self.port,) = ports.free_block(1)  # a random one: other sessions look for one too
        self.url = f"http://127.0.0.1:{self.port}"
        self.api_key = settings.api_key.get_secret_value()
        self.files = Files(settings)
        self.engine = database.engine(settings)
        self.sessions = database.sessions(self.engine)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs to know."""
        return {"PRUNERY_URL": self.url, "PRUNERY_API_KEY": self.api_key}

    def start(self) -> None:
        command = [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while not self._ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def queue(self, **fields: Any) -> str:
        """A job as the API would store it."""
        with self.sessions.begin() as session:
            return store.create(
                session, JobSpec.model_validate(SPEC | fields), project_id=DEFAULT_PROJECT, max_attempts=3
            ).id

    def events(self, job_id: str) -> list[EventRow]:
        with self.sessions() as session:
            return store.events(session, job_id, project_id=DEFAULT_PROJECT, after=0, limit=100)

    def claim(self, job_id: str) -> Claim:
        with self.sessions.begin() as session:
            claim = leases.claim(session, job_id, "a worker", 600)
        assert claim is not None
        return claim

    def say(self, claim: Claim, *events: tuple[str, dict[str, Any]]) -> None:
        with self.sessions.begin() as session:
            assert leases.append(session, claim, events)

    def progress(self, claim: Claim, phase: str, **progress: Any) -> None:
        with self.sessions.begin() as session:
            assert leases.progress(session, claim, phase, progress)

    def succeed(self, claim: Claim, files: dict[str, bytes], result: dict[str, Any] | None = None) -> None:
        revision = revisions.of_contents(files)
        for file in revision.files:
            self.files.put_bytes(blob_key(file.sha256), files[file.path])
        with self.sessions.begin() as session:
            assert leases.succeed(session, claim, result or {}, [revision] if files else [])

    def fail(self, claim: Claim, **error: Any) -> None:
        with self.sessions.begin() as session:
            assert leases.fail(session, claim, error, "internal")

    def published(self, files: dict[str, bytes]) -> str:
        """A job that has succeeded with these files."""
        job_id = self.queue()
        self.succeed(self.claim(job_id), files)
        return job_id

    def close(self) -> None:
        self.kill()
        self.engine.dispose()

    def _ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False


@pytest.fixture
def service(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("PRUNERY_LOCAL_ROOTS", '["/"]')
    running = Service(settings, tmp_path / "api.log")
    running.start()
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    yield running
    running.close()


def prunery(*arguments: str, cwd: Path | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as a user does."""
    return subprocess.run(
        [*PRUNERY, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
