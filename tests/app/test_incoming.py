"""Models that are sent in several requests, and become the base of a job."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.incoming import MIB, MOST_PARTS, SMALLEST_PART, part_bytes
from tests.app.conftest import job
from tests.app.tenants import make_key, make_project
from tests.app.test_held import MODEL

UPLOADS, JOBS = "/v1/uploads", "/v1/compression/jobs"
CONTENT = os.urandom(SMALLEST_PART + 2 * MIB)


def announce(client: TestClient, content: bytes, **headers: str) -> dict[str, Any]:
    wanted = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    answer = client.post(UPLOADS, json=wanted, headers=headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def send(client: TestClient, url: str, offset: int, content: bytes) -> Any:
    return client.patch(url, content=content, headers={"Upload-Offset": str(offset)})


def test_an_upload_goes_on_where_it_broke_off_and_is_never_sent_twice(client: TestClient) -> None:
    begun = announce(client, CONTENT)
    url = begun["url"]
    assert (begun["offset"], begun["part_bytes"], begun["completed_at"]) == (0, SMALLEST_PART, None)
    broken = send(client, url, 0, CONTENT[: SMALLEST_PART + MIB])
    assert (broken.status_code, broken.headers["Upload-Offset"]) == (200, str(SMALLEST_PART)), broken.text
    wrong = send(client, url, SMALLEST_PART + MIB, CONTENT[SMALLEST_PART + MIB :])
    assert (wrong.status_code, wrong.json()["code"]) == (409, "offset_mismatch")
    assert client.get(url).headers["Upload-Offset"] == str(SMALLEST_PART)
    done = send(client, url, SMALLEST_PART, CONTENT[SMALLEST_PART:])
    assert (done.status_code, done.json()["offset"]) == (200, len(CONTENT)), done.text
    assert done.json()["completed_at"] is not None
    assert announce(client, CONTENT) == done.json() == client.get(url).json()
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404


def test_other_bytes_than_announced_are_refused_and_forgotten(
    client: TestClient, stored: Callable[[], tuple[int, ...]]
) -> None:
    url = announce(client, b"right")["url"]
    refused = send(client, url, 0, b"wrong")
    assert (refused.status_code, refused.json()["code"]) == (422, "body_mismatch")
    assert client.get(url).status_code == 404
    url = announce(client, b"short")["url"]
    assert send(client, url, 0, b"too long").status_code == 413
    assert client.delete(url).status_code == 204
    assert stored() == (0, 0, 0, 0, 0, 0)


def test_uploaded_files_become_a_model_that_a_job_takes_as_its_base(client: TestClient, roots: Path) -> None:
    for content in MODEL.values():
        begun = announce(client, content)
        if begun["completed_at"] is None:
            assert send(client, begun["url"], 0, content).status_code == 200
    files = [{"path": path, "sha256": hashlib.sha256(content).hexdigest()} for path, content in MODEL.items()]
    model = client.post("/v1/models", json={"name": "llama"}).json()
    versions = model["urls"]["versions"]
    missing = client.post(versions, json={"files": [{"path": "config.json", "sha256": "0" * 64}, files[1], files[1]]})
    pointers = [error["pointer"] for error in missing.json()["errors"]]
    assert (missing.status_code, pointers) == (422, ["/files/0/sha256", "/files/2/path"])
    halves = client.post(versions, json={"files": files[:1]})
    assert (halves.status_code, halves.json()["code"]) == (422, "base_model_incomplete")
    outside = client.post(versions, json={"files": [{"path": "a/../../b", "sha256": "0" * 64}]})
    assert outside.json()["errors"][0]["pointer"] == "/files/0/path"
    made = client.post(versions, json={"files": files})
    assert made.status_code == 201, made.text
    assert made.json()["refs"] == ["main"]
    assert {file["path"] for file in made.json()["files"]} == set(MODEL)
    (roots / "train.txt").write_text("some text " * 100)
    source = {"source": "registry", "id": f"{model['namespace']}/llama"}
    asked = client.post(JOBS, json=job(source, {"source": "local", "path": str(roots / "train.txt")}))
    assert asked.status_code == 202, asked.text
    assert asked.json()["config"]["base_model"]["revision"] == made.json()["commit"]
    client.delete(announce(client, MODEL["config.json"])["url"])
    assert announce(client, MODEL["config.json"])["completed_at"] is not None, "the model has it"


def test_an_upload_is_its_project_s_alone_and_counts(client: TestClient) -> None:
    url = announce(client, b"content")["url"]
    assert client.get("/v1/usage").json()["uploaded_bytes"] == 7
    theirs = make_key(client, "models:write", project_id=make_project(client, max_uploaded_bytes=6))
    assert client.get(url, headers=theirs).status_code == 404
    wanted = {"bytes": 7, "sha256": "0" * 64}
    assert client.post(UPLOADS, json=wanted, headers=theirs).json()["code"] == "quota_exceeded"
    assert client.delete(url).status_code == 204
    assert client.get("/v1/usage").json()["uploaded_bytes"] == 0


@pytest.mark.parametrize("total", [1, 100 * MIB, MOST_PARTS * SMALLEST_PART, 5 * 2**40])
def test_no_upload_has_more_parts_than_the_storage_takes(total: int) -> None:
    size = part_bytes(total)
    assert size % MIB == 0
    assert -(-total // size) <= 10_000
