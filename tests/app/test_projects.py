"""Projects over HTTP."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.app.tenants import KEYS, PROJECTS, make_key, make_project


def test_a_project_is_made_read_changed_and_removed(client: TestClient) -> None:
    answer = client.post(PROJECTS, json={"name": "nlp", "max_running": 2})
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{PROJECTS}/{made['id']}"
    assert client.get(f"{PROJECTS}/{made['id']}").json() == made
    assert (made["name"], made["max_running"], made["max_queued"]) == ("nlp", 2, None)

    changed = client.patch(f"{PROJECTS}/{made['id']}", json={"max_running": None, "max_queued": 5}).json()
    assert changed == made | {"max_running": None, "max_queued": 5}
    assert client.patch(f"{PROJECTS}/{made['id']}", json={"name": "text"}).json()["name"] == "text"
    assert client.patch(f"{PROJECTS}/{made['id']}", json={}).json()["max_queued"] == 5
    assert [each["name"] for each in client.get(PROJECTS).json()["data"]] == ["default", "text"]

    theirs = make_key(client, "admin", project_id=made["id"])
    assert client.get("/v1/me", headers=theirs).json()["project"] == "text"
    assert client.delete(f"{PROJECTS}/{made['id']}").status_code == 204
    assert client.get(f"{PROJECTS}/{made['id']}").status_code == 404
    assert client.get(f"{KEYS}?project_id={made['id']}").status_code == 404


def test_a_project_in_use_is_not_removed(client: TestClient, small_text: Path) -> None:
    other = make_project(client)
    theirs = make_key(client, "jobs:write", project_id=other)
    client.post("/v1/files", params={"name": "a.txt"}, content=small_text.read_bytes(), headers=theirs)
    for id in (other, "proj_default"):
        answer = client.delete(f"{PROJECTS}/{id}")
        assert (answer.status_code, answer.json()["code"]) == (409, "project_not_empty")
        assert client.get(f"{PROJECTS}/{id}").status_code == 200


def test_a_repeated_request_makes_no_second_project(client: TestClient) -> None:
    once = {"Idempotency-Key": "make it"}
    first, again = (client.post(PROJECTS, json={"name": "nlp"}, headers=once) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert client.post(PROJECTS, json={"name": "nlp"}).json()["code"] == "name_taken"


def test_two_projects_have_two_names(client: TestClient) -> None:
    make_project(client, "nlp")
    other = make_project(client, "other")
    for answer in (
        client.post(PROJECTS, json={"name": "nlp"}),
        client.patch(f"{PROJECTS}/{other}", json={"name": "nlp"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")


def test_only_operators_manage_projects(client: TestClient) -> None:
    other = make_project(client)
    for headers in (make_key(client, "admin", project_id=other), make_key(client, "jobs:read", "jobs:write")):
        for method, path in (
            ("GET", ""),
            ("POST", ""),
            ("GET", f"/{other}"),
            ("PATCH", f"/{other}"),
            ("DELETE", f"/{other}"),
        ):
            answer = client.request(method, PROJECTS + path, headers=headers, json={"name": "x"})
            assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert client.get(PROJECTS, headers=make_key(client, "admin")).status_code == 200


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"max_running": -1}, "/max_running"),
        ({"max_queued": 2**31}, "/max_queued"),
        ({"max_storage_bytes": 2**63}, "/max_storage_bytes"),
        ({"max_uploaded_bytes": "much"}, "/max_uploaded_bytes"),
        ({"name": " "}, "/name"),
        ({"maximum": 1}, "/maximum"),
    ],
)
def test_a_wrong_limit_says_where(client: TestClient, change: dict[str, object], pointer: str) -> None:
    for answer in (
        client.post(PROJECTS, json={"name": "n"} | change),
        client.patch(f"{PROJECTS}/proj_default", json=change),
    ):
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert len(client.get(PROJECTS).json()["data"]) == 1
