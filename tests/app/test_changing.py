"""Jobs changed after they were asked for, and estimated before."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from tests.app.conftest import job, write_model
from tests.app.tenants import LOG
from worker import leases

JOBS = "/v1/compression/jobs"
ESTIMATES = "/v1/compression/estimates"


@pytest.fixture
def sound(roots: Path) -> dict[str, Any]:
    """A request for a job on a model and a text that are there."""
    (roots / "train.txt").write_text("some text " * 100)
    model = {"source": "local", "path": str(write_model(roots / "llama"))}
    return job(
        model, {"source": "local", "path": str(roots / "train.txt")}, name="first", metadata={"a": "1", "b": "2"}
    )


def test_what_is_named_changes_and_the_rest_stays(client: TestClient, sound: dict[str, Any]) -> None:
    made = client.post(JOBS, json=sound).json()
    url = made["urls"]["self"]
    patch = {"metadata": {"a": None, "c": "3"}}
    changed = client.patch(url, json=patch, headers={"Content-Type": "application/merge-patch+json"})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["name"], changed.json()["metadata"]) == ("first", {"b": "2", "c": "3"})
    assert changed.json()["version"] == made["version"] + 1
    assert changed.headers["ETag"] == f'"{made["version"] + 1}"'
    assert changed.json()["config"] == made["config"]
    assert client.patch(url, json={"name": None, "metadata": None}).json()["metadata"] == {}
    assert client.get(url).json()["name"] is None
    events = client.get(made["urls"]["events"]).json()["data"]
    assert [(event["type"], event["data"]) for event in events[1:]] == [
        ("updated", {"metadata": {"b": "2", "c": "3"}}),
        ("updated", {"name": None, "metadata": {}}),
    ]
    assert client.get(JOBS, params={"metadata[c]": "3"}).json()["data"] == []


def test_a_job_that_waits_is_given_another_priority_and_one_at_work_is_not(
    client: TestClient, sound: dict[str, Any], sessions: sessionmaker[Session]
) -> None:
    made = client.post(JOBS, json=sound).json()
    url = made["urls"]["self"]
    changed = client.patch(url, json={"priority": "high"}).json()
    assert (changed["priority"], changed["version"]) == ("high", made["version"] + 1)
    assert client.get(made["urls"]["events"]).json()["data"][-1]["data"] == {"priority": "high"}
    entry = client.get(LOG).json()["data"][0]
    assert (entry["action"], entry["data"]) == ("job.change", {"priority": "high"})
    client.post(made["urls"]["pause"])
    assert client.patch(url, json={"priority": None}).json()["priority"] == "normal"
    client.post(made["urls"]["resume"])
    with sessions.begin() as session:
        assert leases.claim(session, made["id"], "worker", 60)
    refused = client.patch(url, json={"priority": "low"})
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state_transition")
    assert client.patch(url, json={"priority": "normal", "name": "other"}).status_code == 200


def test_a_patch_that_changes_nothing_makes_no_version(client: TestClient, sound: dict[str, Any]) -> None:
    made = client.post(JOBS, json=sound).json()
    for nothing in ({}, {"name": "first"}, {"metadata": {"z": None, "a": "1"}}):
        assert client.patch(made["urls"]["self"], json=nothing).json() == made


def test_only_the_version_that_the_client_knows_is_changed(client: TestClient, sound: dict[str, Any]) -> None:
    url = client.post(JOBS, json=sound).json()["urls"]["self"]
    etag = client.get(url).headers["ETag"]

    def rename(number: int) -> int:
        return client.patch(url, json={"name": f"number {number}"}, headers={"If-Match": etag}).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(rename, range(4))) == [200, 412, 412, 412]
    refused = client.patch(url, json={"name": "x"}, headers={"If-Match": f"W/{etag}"})
    assert (refused.status_code, refused.json()["code"]) == (412, "version_mismatch")
    assert client.patch(url, json={"name": "x"}, headers={"If-Match": "*"}).status_code == 200


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"status": "succeeded"}, "/status"),
        ({"name": ""}, "/name"),
        ({"name": "a\0b"}, "/name"),
        ({"metadata": {"k" * 65: "v"}}, f"/metadata/{'k' * 65}"),
        ({"metadata": {"k": 1}}, "/metadata/k"),
        ({"metadata": {f"{n}": "v" for n in range(16)}}, "/metadata"),
        ([], ""),
    ],
)
def test_a_patch_is_refused_by_its_field(client: TestClient, sound: dict[str, Any], patch: Any, pointer: str) -> None:
    made = client.post(JOBS, json=sound).json()
    refused = client.patch(made["urls"]["self"], json=patch)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert client.get(made["urls"]["self"]).json() == made


def test_what_is_not_there_and_what_is_no_json_is_not_changed(client: TestClient, sound: dict[str, Any]) -> None:
    assert client.patch(f"{JOBS}/cjob_0", json={"name": "x"}).status_code == 404
    url = client.post(JOBS, json=sound).json()["urls"]["self"]
    assert client.patch(url, content=b"name=x", headers={"Content-Type": "text/plain"}).status_code == 415


def test_an_estimate_is_what_the_job_would_be_and_stores_nothing(
    client: TestClient, sound: dict[str, Any], stored: Callable[[], tuple[int, ...]]
) -> None:
    estimate = client.post(ESTIMATES, json=sound)
    assert estimate.status_code == 200, estimate.text
    assert client.post(JOBS, json=sound, params={"validate_only": True}).json() == estimate.json()
    assert stored() == (0, 0, 0, 0, 0, 0)
    made = client.post(JOBS, json=sound).json()
    told = estimate.json()
    assert (told["plan"], told["config"]) == (made["plan"], made["config"])
    assert told["memory_bytes"] == made["plan"]["memory"] > 0
    assert "transformers" in told["loads_in"]
    assert told["warnings"] == []


def test_an_estimate_warns_and_refuses_as_the_job_would(client: TestClient, sound: dict[str, Any]) -> None:
    sound["method"] |= {"ratio": 0.27, "budget": {"allocation": "global"}}
    warned = client.post(ESTIMATES, json=sound).json()["warnings"]
    assert [(warning["code"], warning["pointer"]) for warning in warned] == [
        ("widths_unknown", "/method/budget"),
        ("layers_padded", "/method/budget/allocation"),
    ]
    sound["method"] = {"type": "lora_prune", "ratio": 0.12, "round_ffn_to": 256, "train": {"sequence_length": 64}}
    (rounded,) = client.post(ESTIMATES, json=sound).json()["warnings"]
    assert (rounded["code"], rounded["pointer"]) == ("ratio_rounded", "/method/ratio")
    sound["method"]["train"]["sequence_length"] = 2**20
    for url, params in ((ESTIMATES, {}), (JOBS, {"validate_only": "true"}), (JOBS, {})):
        refused = client.post(url, json=sound, params=params)
        assert (refused.status_code, refused.json()["code"]) == (422, "dataset_too_short")
