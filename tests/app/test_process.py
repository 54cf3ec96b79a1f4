"""The API as the process that it is in production."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app import store
from jobs.files import Files, blob_key, upload_key
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT
from jobs.uploads import PART_BYTES
from tests import revisions
from tests.app.conftest import job
from worker import leases

MOST_MEGABYTES = 165  # of which the program itself takes 145
LARGE = 300 * 2**20
BLOCK = (b'{"text": "' + b"one word after another " * 40 + b'"}\n') * 1000


@dataclass
class Api:
    """A running API."""

    process: subprocess.Popen[bytes]
    http: httpx2.Client

    def megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


@pytest.fixture
def api(environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", "--port", str(port)]
    with (tmp_path / "api.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
    key = environment["PRUNERY_API_KEY"]
    client = httpx2.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, timeout=120, trust_env=False
    )
    try:
        deadline = time.monotonic() + 60
        while not _ready(client):
            assert process.poll() is None, (tmp_path / "api.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "api.log").read_text()
            time.sleep(0.1)
        yield Api(process, client)
    finally:
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) in (0, -signal.SIGTERM)


def _ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx2.TransportError:
        return False


def test_memory_stays_flat_while_large_files_pass_through(
    api: Api, sessions: sessionmaker[Session], files: Files
) -> None:
    hash = hashlib.sha256()
    for _ in range(LARGE // len(BLOCK)):
        hash.update(BLOCK)
    body = (BLOCK for _ in range(LARGE // len(BLOCK)))
    uploaded = api.http.post("/v1/files", params={"name": "large.jsonl"}, content=body).json()
    assert uploaded["sha256"] == hash.hexdigest()
    assert api.megabytes() <= MOST_MEGABYTES

    url = publish(uploaded, sessions, files)
    received = hashlib.sha256()
    with api.http.stream("GET", url) as download:
        for chunk in download.iter_raw():
            received.update(chunk)
    assert received.digest() == hash.digest()
    assert api.megabytes() <= MOST_MEGABYTES

    with api.http.stream("GET", url) as download:  # broken off by the client
        next(download.iter_raw())
    assert api.http.get("/readyz").status_code == 200
    assert "torch" not in Path(f"/proc/{api.process.pid}/maps").read_text()


def test_an_upload_that_breaks_off_leaves_nothing(
    api: Api, files: Files, stored: Callable[[], tuple[int, ...]]
) -> None:
    address = urlsplit(str(api.http.base_url))
    head = (
        f"POST /v1/files?name=a.txt HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: {api.http.headers['Authorization']}\r\nContent-Length: {4 * PART_BYTES}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + b"text " * (PART_BYTES // 4))
        until(lambda: stored() == (0, 0, 0, 0, 0, 1))
    until(lambda: stored() == (0, 0, 0, 0, 0, 0))


def test_an_api_that_is_to_end_finishes_what_is_under_way_and_takes_nothing_new(api: Api) -> None:
    def body() -> Iterator[bytes]:
        yield BLOCK
        api.process.send_signal(signal.SIGTERM)
        until(lambda: not _ready(newcomer))
        assert api.process.poll() is None
        yield BLOCK

    with httpx2.Client(base_url=api.http.base_url, trust_env=False, timeout=10) as newcomer:
        uploaded = api.http.post("/v1/files", params={"name": "late.jsonl"}, content=body())
    assert (uploaded.status_code, uploaded.json()["bytes"]) == (201, 2 * len(BLOCK))
    assert api.process.wait(timeout=60) in (0, -signal.SIGTERM)


def test_the_door_never_loads_what_the_worker_needs(environment: dict[str, str]) -> None:
    script = """if True:
        import sys
        from app.main import create_app
        import huggingface_hub
        from huggingface_hub import HfApi, get_session, hf_hub_url, hf_raise_for_status
        create_app()
        print({"torch", "transformers", "peft", "datasets", "numpy", "celery", "worker", "cli"} & set(sys.modules))
    """
    answer = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"


def publish(uploaded: dict[str, Any], sessions: sessionmaker[Session], files: Files) -> str:
    """The address at which an uploaded file is now the artifact of a job."""
    source = {"Bucket": files.bucket, "Key": upload_key(uploaded["id"], uploaded["name"])}
    files._s3.copy_object(Bucket=files.bucket, Key=blob_key(uploaded["sha256"]), CopySource=source)
    spec = JobSpec.model_validate(job({"source": "hub", "id": "a/b"}, {"source": "hub", "id": "a/b"}))
    with sessions.begin() as session:
        row = store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=1)
        claim = leases.claim(session, row.id, "worker-1", 30)
        assert claim is not None
        file = revisions.file("model.safetensors", uploaded["bytes"], uploaded["sha256"])
        assert leases.succeed(session, claim, {}, [revisions.of(file)])
    return f"/v1/compression/jobs/{row.id}/artifacts/model.safetensors"


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
