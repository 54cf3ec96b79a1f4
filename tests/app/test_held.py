"""Base models that are pinned when a job is sent, and looked at in our own object storage."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from jobs import held_models
from jobs.files import Files, blob_key
from jobs.held_models import HeldFile
from tests import revisions
from tests.app.conftest import LLAMA, job
from tests.app.hub import SHA, Hub
from tests.app.tenants import make_key, make_project
from worker import leases

JOBS = "/v1/compression/jobs"
MODEL = {"config.json": json.dumps(LLAMA).encode(), "model.safetensors": b"{}", "tokenizer.json": b"{}"}


@pytest.fixture
def text(roots: Path) -> dict[str, Any]:
    (roots / "train.txt").write_text("some text " * 100)
    return {"source": "local", "path": str(roots / "train.txt")}


def store(files: Files) -> list[HeldFile]:
    """The model's files, under their hashes."""
    held = [HeldFile(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in MODEL.items()]
    for file in held:
        files.put_bytes(blob_key(file.sha256), MODEL[file.path])
    return held


def test_a_hub_model_is_pinned_to_the_commit_that_its_revision_stood_for(
    client: TestClient, hub: Hub, text: dict[str, Any]
) -> None:
    hub.files["acme/llama"] = dict(MODEL)
    made = client.post(JOBS, json=job({"source": "hub", "id": "acme/llama", "revision": "main"}, text))
    assert made.status_code == 202, made.text
    assert made.json()["config"]["base_model"] == {"source": "hub", "id": "acme/llama", "revision": SHA}
    assert made.json()["plan"] is not None


def test_a_model_that_is_held_needs_no_hub(
    client: TestClient, hub: Hub, text: dict[str, Any], files: Files, sessions: sessionmaker[Session]
) -> None:
    hub.failing = True
    unknown = client.post(JOBS, json=job({"source": "hub", "id": "acme/llama"}, text)).json()
    assert (unknown["plan"], unknown["config"]["base_model"]["revision"]) == (None, None)
    held = store(files)
    with sessions.begin() as session:
        held_models.record_copy(session, "acme/llama", SHA, held)
        held_models.record_copy(session, "acme/llama", SHA, held)
    for revision in (None, SHA):
        made = client.post(JOBS, json=job({"source": "hub", "id": "acme/llama", "revision": revision}, text)).json()
        assert made["config"]["base_model"]["revision"] == SHA
        assert made["plan"]["layers"] == 2


def test_a_model_of_the_registry_is_a_base_model(
    client: TestClient, hub: Hub, text: dict[str, Any], files: Files, sessions: sessionmaker[Session]
) -> None:
    hub.failing = True
    store(files)
    local = client.post(JOBS, json=job({"source": "hub", "id": "acme/llama"}, text, output__repository="small")).json()
    with sessions.begin() as session:
        claim = leases.claim(session, local["id"], "worker", 60)
        assert claim is not None
        revision = revisions.of_contents(MODEL)
        assert leases.succeed(session, claim, {}, [revision])
    name = client.get(f"{JOBS}/{local['id']}").json()["result"]["model"]
    made = client.post(JOBS, json=job({"source": "registry", "id": name}, text))
    assert made.status_code == 202, made.text
    assert made.json()["config"]["base_model"]["revision"] == revision.commit
    with sessions() as session:
        source = held_models.RegistryModel.model_validate(made.json()["config"]["base_model"])
        assert {file.path for file in held_models.files(session, source)} == set(MODEL)
    refused = client.post(JOBS, json=job({"source": "registry", "id": name, "revision": "other"}, text)).json()
    assert (refused["code"], refused["errors"][0]["pointer"]) == ("base_model_not_found", "/base_model/revision")
    theirs = make_key(client, "jobs:write", project_id=make_project(client))
    refused = client.post(JOBS, json=job({"source": "registry", "id": name}, text), headers=theirs).json()
    assert (refused["code"], refused["errors"][0]["pointer"]) == ("base_model_not_found", "/base_model/id")
