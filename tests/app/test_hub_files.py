"""Headers and errors below /hf, as they are on the wire."""

import hashlib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app.main import create_app
from bench import published
from jobs.registry_tables import ModelRow
from jobs.settings import Settings
from tests.app.hub_material import QUALITY, folder
from tests.app.tenants import make_key, make_project

MODEL = "/hf/default/small"
API = "/hf/api/models/default/small"
PLAIN = b"# A small model"

# By git itself, of the files below: git add --all && git ls-tree -r -t $(git write-tree)
GIT = {
    "4": "ea1f343c8a1248a4cc4eb47bc92953d0efddb510",
    "a": "c811b060190c6b178d7eb82b12cbf8a7985629b3",
    "a/2.txt": "64c5e5885a4b06010b3a0c20edb7900dd0311025",
    "a/b": "24da54f8bfaceefad22381465d0d72ef413774cd",
    "a/b/1.txt": "43dd47ea691c90a5fa7827892c70241913351963",
    "a.x": "dacdb4bd8e7963919c28aadbf248fc675310313e",
    "a.x/3": "1d19714ffbc272ba0da6eb419d66123c20527174",
}


@pytest.fixture
def model(settings: Settings, tmp_path: Path) -> Path:
    """The folder that the private model default/small was published from."""
    at = folder(tmp_path / "model")
    published.job(settings, at, output={"repository": "small"})
    return at


def test_a_file_goes_with_the_headers_that_clients_live_by(client: TestClient, model: Path) -> None:
    commit = client.get(API).json()["sha"]
    card, weights = ((model / name).read_bytes() for name in ("README.md", "model.safetensors"))
    git = hashlib.sha1(b"blob %d\0" % len(card) + card, usedforsecurity=False).hexdigest()
    for path, content, etag in (
        ("README.md", card, git),
        ("model.safetensors", weights, hashlib.sha256(weights).hexdigest()),
    ):
        whole = client.get(f"{MODEL}/resolve/main/{path}")
        head = client.head(f"{MODEL}/resolve/{commit}/{path}", headers={"Accept-Encoding": "gzip"})
        part = client.get(f"{MODEL}/resolve/main/{path}", headers={"Range": "bytes=2-9"})
        assert (whole.status_code, head.status_code, part.status_code) == (200, 200, 206)
        assert (whole.content, head.content, part.content) == (content, b"", content[2:10])
        assert part.headers["Content-Range"] == f"bytes 2-9/{len(content)}"
        for answer in (whole, head, part):
            assert answer.headers["X-Repo-Commit"] == commit
            assert answer.headers["ETag"] == f'"{etag}"'
            assert answer.headers["Accept-Ranges"] == "bytes"
            assert answer.headers["X-HF-Warning"].endswith(f"; default/small: {QUALITY}")
            assert not {"Content-Encoding", "X-Xet-Hash"} & answer.headers.keys()
        assert head.headers["Content-Length"] == str(len(content))
    assert client.get(f"{MODEL}/resolve/main/pictures/widths.svg").headers["Content-Type"].startswith("text/plain")


def test_errors_are_named_in_headers(client: TestClient, model: Path) -> None:
    commit = client.get(API).json()["sha"]
    for method, path, status, code in (
        ("HEAD", "/hf/default/no/resolve/main/a", 404, "RepoNotFound"),
        ("GET", "/hf/api/models/no/no/revision/main", 404, "RepoNotFound"),
        ("HEAD", "/hf/gpt2/resolve/main/config.json", 404, "RepoNotFound"),
        ("HEAD", f"{MODEL}/resolve/no/a", 404, "RevisionNotFound"),
        ("GET", f"{API}/tree/refs%2Fpr%2F1", 404, "RevisionNotFound"),
        ("HEAD", f"{MODEL}/resolve/main/no", 404, "EntryNotFound"),
        ("GET", f"{API}/tree/main/additional_chat_templates", 404, "EntryNotFound"),
        ("POST", f"{API}/commit/main", 403, None),
        ("POST", "/hf/api/repos/create", 403, None),
        ("GET", f"{API}/tree/main?limit=none", 422, None),
        ("GET", "/hf/api/models?cursor=mdl_no", 400, None),
    ):
        answer = client.request(method, path, headers={"X-Amzn-Trace-Id": "theirs"})
        assert (answer.status_code, answer.headers.get("X-Error-Code")) == (status, code), path
        assert answer.headers["X-Error-Message"]
        assert answer.headers["X-Request-Id"] == "theirs"
        assert answer.headers.get("X-Repo-Commit") == (commit if code == "EntryNotFound" else None)
        assert method == "HEAD" or list(answer.json()) == ["error"]
    wrong = client.head(f"{MODEL}/resolve/main/config.json", headers={"Authorization": "Bearer hf_no"})
    assert (wrong.status_code, wrong.headers.get("X-Error-Code")) == (401, None)
    assert wrong.headers["X-Error-Message"] == "Invalid credentials in Authorization header"
    beyond = client.get(f"{MODEL}/resolve/main/README.md", headers={"Range": "bytes=9999-"})
    assert beyond.status_code == 416


def test_a_large_file_is_where_the_storage_is_if_clients_reach_that(
    client: TestClient, door_settings: Settings, model: Path
) -> None:
    here = door_settings.model_copy(update={"s3_public_endpoint": str(client.base_url)})
    there = door_settings.model_copy(update={"s3_public_endpoint": door_settings.s3_endpoint})
    weights = (model / "model.safetensors").read_bytes()
    path = f"{MODEL}/resolve/main/model.safetensors"
    with TestClient(create_app(there), headers=client.headers, follow_redirects=False) as elsewhere:
        for method in ("HEAD", "GET"):
            answer = elsewhere.request(method, path)
            assert answer.status_code == 302
            assert answer.headers["X-Linked-Size"] == str(len(weights))
            assert answer.headers["X-Linked-ETag"] == f'"{hashlib.sha256(weights).hexdigest()}"'
            assert len(answer.headers["X-Repo-Commit"]) == 40
        assert httpx2.get(answer.headers["Location"], trust_env=False).content == weights
        assert elsewhere.get(f"{MODEL}/resolve/main/config.json").status_code == 200
    # With its key along, a client would be refused there.
    with TestClient(create_app(here), headers=client.headers, follow_redirects=False) as same:
        assert same.get(path).content == weights


def test_who_may_not_see_a_model_is_told_that_there_is_none(
    client: TestClient, sessions: sessionmaker[Session], model: Path
) -> None:
    theirs = make_key(client, "models:read", project_id=make_project(client))
    cannot_read = make_key(client, "jobs:read")
    may_read = make_key(client, "models:read")
    assert client.get(API, headers=may_read).status_code == 200
    del client.headers["Authorization"]
    for headers in ({}, theirs, cannot_read):
        for path in (API, f"{API}/refs", f"{API}/auth-check", f"{MODEL}/resolve/main/config.json", MODEL):
            answer = client.get(path, headers=headers)
            assert (answer.status_code, answer.headers.get("X-Error-Code")) == (404, "RepoNotFound")
        assert client.get("/hf/api/models", headers=headers).json() == []
    assert client.get("/v1/me").status_code == 401
    assert client.get("/hf/api/whoami-v2").status_code == 401
    with sessions.begin() as session:
        session.execute(update(ModelRow).values(visibility="public"))
    for headers in ({}, theirs, cannot_read):
        assert client.get(API, headers=headers).json()["private"] is False
        assert [each["id"] for each in client.get("/hf/api/models", headers=headers).json()] == ["default/small"]


def test_lists_come_in_pages_that_lead_on(client: TestClient, model: Path) -> None:
    paths = sorted(path.relative_to(model).as_posix() for path in model.rglob("*"))
    seen, address = [], f"{API}/tree/main?recursive=true&expand=true&limit=3"
    while address:
        answer = client.get(address)
        seen += [entry["path"] for entry in answer.json()]
        address = answer.links.get("next", {}).get("url", "")
        assert urlsplit(address).path in ("", f"{API}/tree/main")
    assert seen == paths
    assert all(entry["lastCommit"]["title"] for entry in answer.json())


def test_models_are_listed_by_what_is_asked(client: TestClient, settings: Settings, model: Path) -> None:
    published.job(settings, model, output={"repository": "other", "visibility": "public"})
    published.job(settings, model, output={"repository": "third"})
    names, address = [], "/hf/api/models?limit=2&sort=createdAt"
    while address:
        answer = client.get(address)
        names += [each["id"] for each in answer.json()]
        address = answer.links.get("next", {}).get("url", "")
        assert not address or parse_qs(urlsplit(address).query)["sort"] == ["createdAt"]
    assert names == ["default/third", "default/other", "default/small"]
    assert [each["id"] for each in client.get("/hf/api/models?search=T/OTH").json()] == ["default/other"]
    assert client.get("/hf/api/models?author=nobody").json() == []


def test_a_deprecated_model_says_so_first(client: TestClient, sessions: sessionmaker[Session], model: Path) -> None:
    with sessions.begin() as session:
        session.execute(update(ModelRow).values(deprecated_at=ModelRow.created_at, deprecation="Use default/ñew → it"))
    answer = client.get(API)
    notices = answer.headers.get_list("X-HF-Warning")
    assert notices[0] == "deprecated default/small; default/small is deprecated. Use default/?ew -> it"
    assert "deprecated" in answer.json()["tags"]


def test_each_who_fetches_a_revision_counts_once(client: TestClient, settings: Settings, model: Path) -> None:
    def count() -> int:
        listed: int = client.get("/v1/models/default/small").json()["downloads"]
        assert client.get(API).json()["downloads"] == listed
        return listed

    first = f"{MODEL}/resolve/{client.get(API).json()['sha']}"
    for path in ("README.md", "model.safetensors"):
        client.get(f"{first}/{path}")
    assert count() == 0, "looked at, or a part of something else"
    assert client.head(f"{first}/config.json").status_code == client.get(f"{first}/config.json").status_code == 200
    assert count() == 1
    other = make_key(client, "models:read")
    client.get(f"{first}/model.safetensors", headers={"X-HF-Download-Counter": "1", **other})
    client.get(f"{first}/config.json", headers=other)
    assert count() == 2
    (model / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    job_id = published.job(settings, model, output={"repository": "small"})
    client.get(f"{MODEL}/resolve/main/config.json")
    client.get(f"/v1/compression/jobs/{job_id}/artifacts/config.json")  # the same revision
    client.head(f"{first}/config.json")
    assert count() == 3


def test_people_and_telemetry_are_answered_too(client: TestClient, model: Path) -> None:
    for path in (MODEL, f"{MODEL}/tree/main", f"{MODEL}/blob/main/config.json"):
        assert client.get(path, follow_redirects=True).content.startswith(b"---\nlicense: mit\n---\n" + PLAIN)
    assert client.head("/hf/api/telemetry/transformers/x").status_code == 204
    assert client.get("/hf/api/agent-harnesses").status_code == 404


def test_a_git_client_would_call_folders_the_same(client: TestClient, settings: Settings, tmp_path: Path) -> None:
    at = tmp_path / "model"
    for path, content in (("a/b/1.txt", "one"), ("a/2.txt", "two"), ("a.x/3", "three"), ("4", "four")):
        (at / path).parent.mkdir(parents=True, exist_ok=True)
        (at / path).write_text(content)
    published.job(settings, at, output={"repository": "small"})
    entries = client.get(f"{API}/tree/main?recursive=true").json()
    assert {entry["path"]: entry["oid"] for entry in entries} == GIT
