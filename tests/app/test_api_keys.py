"""Keys over HTTP: shown once, replaced, revoked, each in its project."""

from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from app import auth
from tests.app.tenants import KEYS, LOG, make_key, make_project

JOBS = "/v1/compression/jobs"
ME = "/v1/me"


@pytest.fixture(autouse=True)
def _no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "REMEMBERED_SECONDS", 0.0)


def test_a_new_key_is_shown_once_and_opens_what_it_should(client: TestClient) -> None:
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    wanted = {"name": " ci ", "scopes": ["jobs:write", "jobs:read"], "expires_at": expires.isoformat()}
    answer = client.post(KEYS, json=wanted)
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Location"] == f"{KEYS}/{made['id']}"
    token = made.pop("key")
    assert token.startswith(made["prefix"] + "_")
    assert (made["name"], made["scopes"], made["last_used_at"]) == ("ci", ["jobs:read", "jobs:write"], None)
    assert datetime.fromisoformat(made["expires_at"]) == expires

    headers = {"Authorization": f"Bearer {token}"}
    who = client.get(ME, headers=headers).json()
    assert who == {
        "object": "caller",
        "project_id": "proj_default",
        "project": "default",
        "namespace": "default",
        "key_id": made["id"],
        "key": "ci",
        "scopes": ["jobs:read", "jobs:write"],
    }
    assert client.get(KEYS, headers=headers).status_code == 403
    for shown in (client.get(f"{KEYS}/{made['id']}"), client.get(KEYS), client.get(LOG)):
        assert token.rpartition("_")[2] not in shown.text
    used = client.get(f"{KEYS}/{made['id']}").json()
    assert used.pop("last_used_at") is not None
    assert used == {name: value for name, value in made.items() if name != "last_used_at"}


def test_the_key_of_the_environment_is_an_administrators(client: TestClient) -> None:
    who = client.get(ME).json()
    assert (who["project_id"], who["key_id"], who["scopes"]) == ("proj_default", None, ["admin"])


def test_a_revoked_key_opens_nothing_and_stays_listed(client: TestClient) -> None:
    headers = make_key(client, "jobs:read")
    (listed,) = client.get(KEYS).json()["data"]
    assert client.get(JOBS, headers=headers).status_code == 200
    revoked = client.delete(f"{KEYS}/{listed['id']}").json()
    assert revoked["revoked_at"] is not None
    assert client.delete(f"{KEYS}/{listed['id']}").json() == revoked
    assert client.get(JOBS, headers=headers).status_code == 401
    assert client.get(KEYS).json()["data"] == [revoked]
    refused = client.post(f"{KEYS}/{listed['id']}/rotate")
    assert (refused.status_code, refused.json()["code"]) == (409, "key_not_valid")


def test_a_rotated_key_goes_on_for_as_long_as_was_asked(client: TestClient) -> None:
    for overlap, still in ((None, 401), ({"overlap_seconds": 600}, 200)):
        old = make_key(client, "jobs:read", "models:read")
        before = client.get(KEYS).json()["data"][0]
        answer = client.post(f"{KEYS}/{before['id']}/rotate", json=overlap)
        assert answer.status_code == 201
        new = answer.json()
        assert (new["name"], new["scopes"]) == (before["name"], before["scopes"])
        assert new["prefix"] != before["prefix"]
        assert client.get(JOBS, headers={"Authorization": f"Bearer {new['key']}"}).status_code == 200
        assert client.get(JOBS, headers=old).status_code == still


def test_rotation_never_prolongs_a_key(client: TestClient) -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    make_key(client, "jobs:read", expires_at=soon)
    (before,) = client.get(KEYS).json()["data"]
    new = client.post(f"{KEYS}/{before['id']}/rotate", json={"overlap_seconds": 86_400}).json()
    assert new["expires_at"] == before["expires_at"]
    assert client.get(f"{KEYS}/{before['id']}").json()["expires_at"] == before["expires_at"]


def test_keys_are_listed_in_pages_the_newest_first(client: TestClient) -> None:
    made = [client.post(KEYS, json={"name": f"k{n}", "scopes": ["jobs:read"]}).json()["id"] for n in range(5)]
    seen: list[str] = []
    url = f"{KEYS}?limit=2"
    while url:
        answer = client.get(url)
        seen += [each["id"] for each in answer.json()["data"]]
        url = answer.links["next"]["url"] if answer.json()["has_more"] else ""
    assert seen == made[::-1]
    assert client.get(f"{KEYS}?after=key_0").json()["code"] == "invalid_cursor"


def test_a_misspelt_key_of_the_request_is_told_from_those_that_there_are(client: TestClient) -> None:
    (error,) = client.post(KEYS, json={"name": "n", "scopes": ["admin"], "expires": None}).json()["errors"]
    assert (error["pointer"], error["code"], error["suggestion"]) == ("/expires", "unknown_key", "expires_at")
    made = client.post(KEYS, json={"name": "n", "scopes": ["admin"]}).json()["id"]
    (error,) = client.post(f"{KEYS}/{made}/rotate", json={"overlap": 1}).json()["errors"]
    assert (error["pointer"], error["suggestion"]) == ("/overlap", "overlap_seconds")


def test_a_project_manages_its_own_keys_and_no_others(client: TestClient) -> None:
    other = make_project(client)
    theirs = make_key(client, "admin", project_id=other)
    mine = client.post(KEYS, json={"name": "mine", "scopes": ["jobs:read"]}).json()["id"]

    assert [each["name"] for each in client.get(KEYS, headers=theirs).json()["data"]] == ["a key"]
    own = client.post(KEYS, json={"name": "own", "scopes": ["admin"]}, headers=theirs).json()
    assert own["project_id"] == other
    for method, path in (("GET", mine), ("DELETE", mine), ("POST", f"{mine}/rotate")):
        assert client.request(method, f"{KEYS}/{path}", headers=theirs).status_code == 404
        assert client.request(method, f"{KEYS}/{path}?project_id=proj_default", headers=theirs).status_code == 404
    reaching = {"name": "x", "scopes": ["admin"], "project_id": "proj_default"}
    assert client.post(KEYS, json=reaching | {"project_id": "proj_0"}, headers=theirs).status_code == 404
    assert client.post(KEYS, json=reaching, headers=theirs).status_code in (404, 422)
    # An operator manages them all.
    assert client.get(f"{KEYS}/{own['id']}").status_code == 404
    assert client.delete(f"{KEYS}/{own['id']}?project_id={other}").status_code == 200


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["everything"]}, "/scopes/0"),
        ({"scopes": None}, "/scopes"),
        ({"name": ""}, "/name"),
        ({"name": "a\0b"}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2099-01-01T00:00:00"}, "/expires_at"),
        ({"project_id": "\0"}, "/project_id"),
        ({"key": "pk_mine"}, "/key"),
    ],
)
def test_a_wrong_request_says_where_and_makes_nothing(client: TestClient, change: object, pointer: str) -> None:
    answer = client.post(KEYS, json={"name": "n", "scopes": ["jobs:read"]} | change)  # type: ignore[operator]
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert client.get(KEYS).json()["data"] == []
