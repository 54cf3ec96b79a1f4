"""The registry over HTTP."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app import store
from jobs.registry_tables import ModelRow
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT
from jobs.webhook_tables import WebhookDeliveryRow, WebhookEndpointRow
from tests import revisions
from tests.app.tenants import LOG, make_key, make_project
from worker import leases

MODELS = "/v1/models"
MODEL = f"{MODELS}/default/small-and-n-code"
Sessions = sessionmaker[Session]


def publish(sessions: Sessions, spec: JobSpec, size: int) -> tuple[str, str]:
    """Job and commit of one more revision."""
    new = revisions.of(revisions.file("config.json", size), revisions.file("model.safetensors", 2**34))
    with sessions.begin() as session:
        job_id = store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=1).id
        claim = leases.claim(session, job_id, "worker", 60)
        assert claim is not None
        assert leases.succeed(session, claim, {}, [new])
    return job_id, new.commit


@pytest.fixture
def published(sessions: Sessions, spec: JobSpec) -> list[tuple[str, str]]:
    return [publish(sessions, spec, size) for size in (1, 2, 3)]


def actions(client: TestClient) -> list[str]:
    return [entry["action"] for entry in client.get(LOG).json()["data"]]


def test_versions_tell_where_they_come_from(client: TestClient, published: list[tuple[str, str]]) -> None:
    (_, first), (_, second), (job_id, newest) = published
    listed = client.get(f"{MODEL}/versions", params={"limit": 2})
    page = listed.json()
    assert [version["commit"] for version in page["data"]] == [newest, second]
    assert page["has_more"] is True
    assert page["data"][0]["refs"] == [job_id, "main"]
    assert page["data"][0]["lineage"] == {
        "base_model": "HuggingFaceTB/SmolLM2-135M",
        "base_revision": None,
        "job": job_id,
    }
    rest = client.get(listed.links["next"]["url"]).json()
    assert ([version["commit"] for version in rest["data"]], rest["has_more"]) == ([first], False)
    for name in ("main", newest, newest[:8], job_id):
        version = client.get(f"{MODEL}/versions/{name}").json()
        assert version["commit"] == newest
        assert [(file["path"], file["bytes"]) for file in version["files"]] == [
            ("config.json", 3),
            ("model.safetensors", 2**34),
        ]
    assert {ref["name"]: ref["kind"] for ref in client.get(f"{MODEL}/refs").json()["data"]} == {
        "main": "branch",
        **{job: "tag" for job, _ in published},
    }
    assert client.get(f"{MODEL}/versions/nothing").status_code == 404
    assert client.get(f"{MODEL}/versions", params={"after": "0" * 40}).json()["code"] == "invalid_cursor"


def test_an_alias_moves_and_takes_no_name_of_ours(client: TestClient, published: list[tuple[str, str]]) -> None:
    (first_job, first), *_, (_, newest) = published
    for revision, commit in ((first_job, first), ("main", newest), ("champion", newest)):
        put = client.put(f"{MODEL}/aliases/champion", json={"revision": revision})
        assert (put.status_code, put.json()["commit"], put.json()["kind"]) == (200, commit, "alias")
    assert client.get(f"{MODEL}/versions/champion").json()["commit"] == newest
    for alias in ("main", first_job, "step-3", newest[:7], "a--", ".a", "a" * 65):
        refused = client.put(f"{MODEL}/aliases/{alias}", json={"revision": "main"})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter"), alias
    assert client.put(f"{MODEL}/aliases/b", json={"revision": "nothing"}).status_code == 404
    assert client.delete(f"{MODEL}/aliases/main").status_code == 404
    assert client.delete(f"{MODEL}/aliases/champion").status_code == 204
    assert client.delete(f"{MODEL}/aliases/champion").status_code == 404
    assert actions(client)[:2] == ["model.delete_alias", "model.set_alias"]


def test_a_version_goes_when_only_tags_stand_for_it(client: TestClient, published: list[tuple[str, str]]) -> None:
    (job_id, first), _, (_, newest) = published
    client.put(f"{MODEL}/aliases/champion", json={"revision": first})
    for name in ("main", newest, "champion", job_id):
        refused = client.delete(f"{MODEL}/versions/{name}")
        assert (refused.status_code, refused.json()["code"]) == (409, "version_in_use")
    client.delete(f"{MODEL}/aliases/champion")
    assert client.delete(f"{MODEL}/versions/{job_id}").status_code == 204
    assert client.delete(f"{MODEL}/versions/{first}").status_code == 404
    assert len(client.get(f"{MODEL}/versions").json()["data"]) == 2
    assert job_id not in {ref["name"] for ref in client.get(f"{MODEL}/refs").json()["data"]}
    assert client.get(f"/v1/compression/jobs/{job_id}/artifacts").json()["data"] == []
    assert actions(client)[0] == "model.delete_version"


def test_an_alias_cannot_hide_a_branch(client: TestClient, sessions: Sessions, spec: JobSpec) -> None:
    main, small = (revisions.of(revisions.file("a", size), branch=name) for size, name in ((1, "main"), (2, "w8a8")))
    with sessions.begin() as session:
        job_id = store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=1).id
        claim = leases.claim(session, job_id, "worker", 60)
        assert claim is not None
        assert leases.succeed(session, claim, {}, [main, small])
    refused = client.put(f"{MODEL}/aliases/w8a8", json={"revision": "main"})
    assert (refused.status_code, refused.json()["code"]) == (409, "name_taken")


def test_models_are_made_found_and_described(client: TestClient, published: list[tuple[str, str]]) -> None:
    headers = {"Idempotency-Key": "once"}
    made = [client.post(MODELS, json={"name": "Empty_1", "description": "of mine"}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in made] == [201, 201]
    assert made[0].json() == made[1].json()
    assert client.get(made[0].headers["Location"]).json() == made[0].json()
    assert client.get(f"{MODELS}/default/Empty_1/versions").json()["data"] == []
    taken = client.post(MODELS, json={"name": "Empty_1"})
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    wrong = client.post(MODELS, json={"name": "a--b"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/name")

    changed = client.patch(MODEL, json={"deprecation": "Use Empty_1.", "visibility": None}).json()
    assert (changed["deprecation"], changed["visibility"], changed["deprecated_at"] is None) == (
        "Use Empty_1.",
        "private",
        False,
    )
    for params, names in (
        ({}, ["Empty_1", "small-and-n-code"]),
        ({"q": "OF MINE"}, ["Empty_1"]),
        ({"deprecated": "true"}, ["small-and-n-code"]),
        ({"deprecated": "false"}, ["Empty_1"]),
        ({"visibility": "public"}, []),
        ({"deleted": "true"}, []),
    ):
        assert [model["name"] for model in client.get(MODELS, params=params).json()["data"]] == names, params
    page = client.get(MODELS, params={"limit": 1, "visibility": "private"})
    following = client.get(page.links["next"]["url"]).json()
    assert [model["name"] for model in following["data"]] == ["small-and-n-code"]
    assert client.patch(MODEL, json={"deprecation": None}).json()["deprecated_at"] is None


def test_what_was_deleted_can_be_restored_for_a_while(
    client: TestClient, sessions: Sessions, spec: JobSpec, published: list[tuple[str, str]]
) -> None:
    job_id, commit = published[-1]
    assert client.delete(MODEL).json()["deleted_at"] is not None
    for gone in (MODEL, f"{MODEL}/versions", f"{MODEL}/refs", f"/v1/compression/jobs/{job_id}/artifacts/config.json"):
        assert client.get(gone).status_code == 404, gone
    assert client.delete(MODEL).status_code == 404
    assert client.get("/v1/usage").json()["published_bytes"] == 0
    assert [model["name"] for model in client.get(MODELS, params={"deleted": True}).json()["data"]] == [
        "small-and-n-code"
    ]
    assert client.post(f"{MODEL}/restore").json()["deleted_at"] is None
    assert client.get(f"{MODEL}/versions/main").json()["commit"] == commit
    assert client.post(f"{MODEL}/restore").json() == client.get(MODEL).json()
    assert actions(client)[:2] == ["model.restore", "model.delete"], "nothing was restored the second time"

    client.delete(MODEL)
    publish(sessions, spec, 4)  # takes the name
    assert len(client.get(f"{MODEL}/versions").json()["data"]) == 1
    assert client.post(f"{MODEL}/restore").json()["code"] == "name_taken"
    client.delete(MODEL)
    with sessions.begin() as session:
        session.execute(update(ModelRow).values(deleted_at=func.now() - timedelta(days=8)))
    assert client.post(f"{MODEL}/restore").status_code == 404
    assert actions(client)[:3] == ["model.delete", "model.delete", "model.restore"]


def test_another_project_reads_what_is_public_and_changes_nothing(
    client: TestClient, published: list[tuple[str, str]]
) -> None:
    theirs = make_key(client, "models:read", "models:write", project_id=make_project(client))
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("PATCH", MODEL, {"json": {"visibility": "public"}}),
        ("DELETE", MODEL, {}),
        ("POST", f"{MODEL}/restore", {}),
        ("DELETE", f"{MODEL}/versions/main", {}),
        ("PUT", f"{MODEL}/aliases/a", {"json": {"revision": "main"}}),
        ("DELETE", f"{MODEL}/aliases/a", {}),
    ]
    for visibility, status in (("private", 404), ("public", 200)):
        client.patch(MODEL, json={"visibility": visibility})
        for place in (MODEL, f"{MODEL}/versions", f"{MODEL}/versions/main", f"{MODEL}/refs"):
            assert client.get(place, headers=theirs).status_code == status, place
        for method, place, body in requests:
            assert client.request(method, place, headers=theirs, **body).status_code == 404, place
    assert client.get(MODELS, headers=theirs).json()["data"] == []
    reader = make_key(client, "models:read")
    for method, place, body in requests:
        assert client.request(method, place, headers=reader, **body).status_code == 403, place


def test_webhooks_tell_what_happens_to_models(client: TestClient, sessions: Sessions, spec: JobSpec) -> None:
    with sessions.begin() as session:
        session.add(WebhookEndpointRow(id="we_1", project_id=DEFAULT_PROJECT, url="", events=["model.*"], secret=""))
    job_id, commit = publish(sessions, spec, 1)
    client.put(f"{MODEL}/aliases/champion", json={"revision": "main"})
    client.put(f"{MODEL}/aliases/champion", json={"revision": job_id})  # changes nothing
    client.delete(MODEL)
    with sessions() as session:
        told = list(session.scalars(select(WebhookDeliveryRow).order_by(WebhookDeliveryRow.created_at)))
    assert [message.type for message in told] == ["model.published", "model.alias_changed", "model.deleted"]
    assert told[0].job_id == job_id
    for message in told[:2]:
        assert commit in message.body
        assert '"name": "default/small-and-n-code"' in message.body
