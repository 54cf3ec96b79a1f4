"""Downloads over breaks, damage and restarts, from the real API and object storage."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from random import Random

import pytest

from cli.client import Client
from cli.connection import Connection
from cli.resources import Artifact
from cli.transfer import TransferFailed, fetch_all
from tests.cli.conftest import PRUNERY, Service, prunery

WEIGHTS = Random(0).randbytes(48 << 20)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "extra/empty.txt": b""}


class Listener:
    """Counts what comes, and keeps what is said."""

    def __init__(self) -> None:
        self.received = 0
        self.notes: list[str] = []

    def start(self, artifact: Artifact, have: int) -> None:
        pass

    def advance(self, count: int) -> None:
        self.received += count

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def job_id(service: Service) -> str:
    return service.published(FILES)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_download_that_was_killed_goes_on_where_it_stopped(service: Service, job_id: str, tmp_path: Path) -> None:
    part = tmp_path / "model" / "model.safetensors.part"
    command = subprocess.Popen([*PRUNERY, "download", job_id, "--to", "model"], cwd=tmp_path, env=os.environ)
    end = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size):
        assert time.monotonic() < end
        time.sleep(0.001)
    command.kill()
    command.wait()
    had = part.stat().st_size
    assert 0 < had < len(WEIGHTS)

    done = prunery("download", job_id, "--to", "model", "--json", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "model") == FILES
    assert service.log.read_text().count("status=206") == 1
    already = {item["path"]: item["already_there"] for item in json.loads(done.stdout)["files"]}
    assert already == {"config.json": True, "extra/empty.txt": True, "model.safetensors": False}


def test_a_service_that_restarts_is_waited_for(service: Service, job_id: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    command = subprocess.Popen([*PRUNERY, "download", job_id, "--to", str(folder)], env=os.environ)
    part = folder / "model.safetensors.part"
    end = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size):
        assert time.monotonic() < end
        time.sleep(0.001)
    command.send_signal(signal.SIGSTOP)
    service.kill()
    command.send_signal(signal.SIGCONT)
    service.start()

    assert command.wait(timeout=60) == 0
    assert contents(folder) == FILES


def test_a_damaged_rest_of_an_earlier_download_is_thrown_away(service: Service, job_id: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.part").write_bytes(b"x" * 1000)
    listener = Listener()
    with Client(Connection(service.url, service.api_key)) as client:
        fetch_all(client, job_id, client.artifacts(job_id), tmp_path, listener)

    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS
    assert any("damaged" in note for note in listener.notes)
    assert listener.received > len(WEIGHTS)


def test_a_file_with_another_hash_is_an_error_and_removed(service: Service, job_id: str, tmp_path: Path) -> None:
    with Client(Connection(service.url, service.api_key)) as client:
        artifacts = [artifact.model_copy(update={"sha256": "0" * 64}) for artifact in client.artifacts(job_id)]
        with pytest.raises(TransferFailed, match="arrived damaged"):
            fetch_all(client, job_id, artifacts, tmp_path / "model", Listener())

    assert contents(tmp_path / "model") == {}


@pytest.mark.parametrize("path", ["../outside", "/etc/outside", "a/../../outside", ""])
def test_a_name_outside_of_the_folder_is_refused(path: str, tmp_path: Path) -> None:
    artifact = Artifact(path=path, bytes=1, sha256="0" * 64)
    with Client(Connection("http://127.0.0.1:9", "key")) as client, pytest.raises(TransferFailed, match="outside"):
        fetch_all(client, "cjob_1", [artifact], tmp_path / "model", Listener())


def test_links_to_the_storage_are_followed(
    service: Service, job_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.kill()
    monkeypatch.setenv("PRUNERY_S3_PUBLIC_ENDPOINT", service.settings.s3_endpoint)
    service.start()
    (tmp_path / "model.safetensors.part").write_bytes(WEIGHTS[:5_000_000])
    listener = Listener()
    with Client(Connection(service.url, service.api_key)) as client:
        fetch_all(client, job_id, client.artifacts(job_id), tmp_path, listener)

    assert {path: (tmp_path / path).read_bytes() for path in FILES} == FILES
    assert listener.received == sum(map(len, FILES.values())) - 5_000_000


def test_a_job_without_a_model_has_none_to_download(service: Service) -> None:
    done = prunery("download", service.queue())
    assert done.returncode == 2
    assert "it is queued" in done.stderr
