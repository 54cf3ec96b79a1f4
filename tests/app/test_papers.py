"""A job's recipe, report and layers, before and after its success."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from jobs.files import Files, blob_key
from jobs.specs import JobSpec
from tests import revisions
from tests.app.conftest import job, write_model
from worker import leases

JOBS = "/v1/compression/jobs"


@pytest.fixture
def made(client: TestClient, roots: Path) -> dict[str, Any]:
    (roots / "train.txt").write_text("some text " * 100)
    model = {"source": "local", "path": str(write_model(roots / "llama"))}
    answer = client.post(JOBS, json=job(model, {"source": "local", "path": str(roots / "train.txt")}))
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def succeed(sessions: sessionmaker[Session], files: Files, job_id: str, contents: dict[str, bytes]) -> None:
    for content in contents.values():
        files.put_bytes(blob_key(hashlib.sha256(content).hexdigest()), content)
    with sessions.begin() as session:
        claim = leases.claim(session, job_id, "worker", 60)
        assert claim is not None
        assert leases.succeed(session, claim, {}, [revisions.of_contents(contents)])


def test_before_its_end_a_job_has_a_recipe_and_a_plan_and_no_report(client: TestClient, made: dict[str, Any]) -> None:
    recipe = client.get(made["urls"]["recipe"])
    assert recipe.headers["Content-Type"].startswith("application/yaml")
    assert JobSpec.model_validate(yaml.safe_load(recipe.text)).model_dump(mode="json") == made["config"]
    layers = client.get(made["urls"]["layers"]).json()
    assert (layers["source"], [layer["index"] for layer in layers["data"]]) == ("plan", [0, 1])
    for layer in layers["data"]:
        assert layer["ffn"] == made["plan"]["ffn"]
        assert layer["kv_groups"] is None
    early = client.get(made["urls"]["report"])
    assert (early.status_code, early.json()["code"]) == (409, "invalid_state_transition")
    client.post(made["urls"]["cancel"])
    assert client.get(made["urls"]["report"]).status_code == 404
    assert client.get(f"{JOBS}/cjob_0/recipe").status_code == 404


def test_after_its_success_all_is_as_published(
    client: TestClient, made: dict[str, Any], sessions: sessionmaker[Session], files: Files
) -> None:
    kept = [{"index": 0, "kv_groups": [0, 2], "ffn_channels": list(range(100))}]
    report = {"version": 2, "plan": {**made["plan"], "layers_removed": 1}, "kept": kept}
    page = b"<!doctype html><title>report</title>"
    papers = {"compression_report.json": json.dumps(report).encode(), "recipe.yaml": b"seed: 7\n", "report.html": page}
    succeed(sessions, files, made["id"], papers)
    assert client.get(made["urls"]["recipe"]).text == "seed: 7\n"
    url = made["urls"]["report"]
    assert client.get(url).json() == report
    for answer in (client.get(url, headers={"Accept": "text/html,*/*;q=0.8"}), client.get(f"{url}.html")):
        assert (answer.content, answer.headers["Content-Type"]) == (page, "text/html; charset=utf-8")
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    layers = client.get(made["urls"]["layers"]).json()
    assert (layers["source"], layers["layers_removed"]) == ("report", 1)
    (layer,) = layers["data"]
    assert layer["query_heads"] == {"before": 8, "after": 4}
    assert (layer["kv_heads"]["after"], layer["ffn"]["after"]) == (2, 100)
    assert layer["kv_groups"] == [0, 2]
