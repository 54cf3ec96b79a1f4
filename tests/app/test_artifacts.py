"""Published files: listed, downloaded whole and in parts."""

import hashlib
import urllib.request
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app import store
from app.main import create_app
from jobs.files import Files, blob_key
from jobs.settings import Settings
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT
from tests import revisions
from tests.app.conftest import job
from worker import leases

CONTENT = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": bytes(range(256)) * 4096,
    "empty.txt": b"",
    "sub dir/näme.md": b"# card",
}
WEIGHTS = CONTENT["model.safetensors"]
ETAG = f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'

PARTS: list[tuple[dict[str, str], int, bytes, str | None]] = [
    ({"Range": "bytes=0-99"}, 206, WEIGHTS[:100], "bytes 0-99/1048576"),
    ({"Range": "bytes=1048570-"}, 206, WEIGHTS[-6:], "bytes 1048570-1048575/1048576"),
    ({"Range": "bytes=-7"}, 206, WEIGHTS[-7:], "bytes 1048569-1048575/1048576"),
    ({"Range": "bytes=5-9", "If-Range": ETAG}, 206, WEIGHTS[5:10], "bytes 5-9/1048576"),
    ({"Range": "bytes=5-9", "If-Range": '"old"'}, 200, WEIGHTS, None),
    ({"Range": "bytes=0-1,5-6"}, 200, WEIGHTS, None),
    ({"If-None-Match": ETAG}, 304, b"", None),
    ({"If-None-Match": ETAG, "Range": "bytes=0-1"}, 304, b"", None),
    ({"If-None-Match": '"old"'}, 200, WEIGHTS, None),
]


@pytest.fixture
def published(sessions: sessionmaker[Session], files: Files) -> str:
    """The address of the artifacts of a job that has succeeded."""
    spec = JobSpec.model_validate(job({"source": "hub", "id": "a/b"}, {"source": "hub", "id": "a/b"}))
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in CONTENT.items()}
    for path, content in CONTENT.items():
        files.put_bytes(blob_key(hashes[path]), content)
    with sessions.begin() as session:
        row = store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=1)
        claim = leases.claim(session, row.id, "worker-1", 30)
        assert claim is not None
        assert leases.succeed(session, claim, {"ratio": 0.3}, [revisions.of_contents(CONTENT)])
    return f"/v1/compression/jobs/{row.id}/artifacts"


def test_every_published_file_is_listed_and_downloads_as_it_is(client: TestClient, published: str) -> None:
    listed = client.get(published).json()["data"]
    assert [entry["path"] for entry in listed] == sorted(CONTENT)
    for entry in listed:
        content = CONTENT[entry["path"]]
        whole = client.get(f"{published}/{entry['path']}")
        assert whole.status_code == 200
        assert whole.content == content
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert whole.headers["ETag"] == f'"{entry["sha256"]}"'
        assert whole.headers["Accept-Ranges"] == "bytes"
        seen = client.head(f"{published}/{entry['path']}")
        assert (seen.status_code, seen.content) == (200, b"")
        for header in ("Content-Length", "ETag", "Content-Type", "Content-Disposition", "Repr-Digest"):
            assert seen.headers[header] == whole.headers[header]
    card = client.head(f"{published}/sub dir/näme.md").headers["Content-Disposition"]
    assert card == "attachment; filename=\"n_me.md\"; filename*=UTF-8''n%C3%A4me.md"


def test_parts_and_conditions(client: TestClient, published: str, subtests: pytest.Subtests) -> None:
    for asked, status, expected, content_range in PARTS:
        with subtests.test(str(asked)):
            answer = client.get(f"{published}/model.safetensors", headers=asked)
            assert (answer.status_code, answer.content == expected) == (status, True)
            assert answer.headers.get("Content-Range") == content_range
            assert answer.headers["ETag"] == ETAG


def test_what_is_not_published_is_a_named_problem(client: TestClient, published: str, files: Files) -> None:
    beyond = client.get(f"{published}/model.safetensors", headers={"Range": "bytes=1048576-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
    assert beyond.headers["Content-Range"] == "bytes */1048576"
    for path in ("nothing.txt", "..%2f..%2fetc%2fpasswd", "sub%20dir", "%00"):
        refused = client.get(f"{published}/{path}")
        assert refused.status_code in (400, 404), path
        assert refused.headers["Content-Type"] == "application/problem+json"
    assert client.get("/v1/compression/jobs/cjob_0/artifacts").status_code == 404
    files.delete(blob_key(hashlib.sha256(WEIGHTS).hexdigest()))
    lost = client.get(f"{published}/model.safetensors")
    assert (lost.status_code, lost.json()["retryable"]) == (503, True)


def test_downloads_are_sent_on_to_a_public_storage(
    client: TestClient, published: str, door_settings: Settings, tmp_path: Path
) -> None:
    public = door_settings.model_copy(update={"s3_public_endpoint": door_settings.s3_endpoint})
    with TestClient(create_app(public), headers=client.headers, follow_redirects=False) as redirecting:
        answer = redirecting.get(f"{published}/sub dir/näme.md")
        assert redirecting.head(f"{published}/sub dir/näme.md").status_code == 200
    assert answer.status_code == 307
    assert answer.headers["Location"].startswith(door_settings.s3_endpoint)
    with urllib.request.urlopen(answer.headers["Location"]) as download:  # without the key
        assert download.read() == CONTENT["sub dir/näme.md"]
        assert "n%C3%A4me.md" in download.headers["Content-Disposition"]
