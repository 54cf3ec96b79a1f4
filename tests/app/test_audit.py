"""The log of what was done."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from tests.app.conftest import job, write_model
from tests.app.tenants import KEYS, LOG, PROJECTS, make_key, make_project

JOBS = "/v1/compression/jobs"


def entries(client: TestClient, headers: dict[str, str] | None = None, **query: str) -> list[tuple[str, str, str]]:
    answer = client.get(LOG, headers=headers, params=query)
    assert answer.status_code == 200
    return [(each["action"], each["target"], each["key_name"]) for each in answer.json()["data"]]


def test_each_deed_is_there_with_its_doer_in_the_log_of_whom_it_concerns(client: TestClient) -> None:
    other = make_project(client)
    theirs = make_key(client, "admin", project_id=other)
    own = client.post(
        KEYS, json={"name": "own", "scopes": ["jobs:read"]}, headers=theirs | {"X-Request-Id": "mine-1"}
    ).json()
    rotated = client.post(f"{KEYS}/{own['id']}/rotate", headers=theirs).json()
    client.delete(f"{KEYS}/{rotated['id']}", headers=theirs)
    client.patch(f"{PROJECTS}/{other}", json={"max_queued": 3})

    first = client.get(KEYS, headers=theirs, params={"limit": 100}).json()["data"][-1]["id"]
    assert entries(client, theirs) == [
        ("api_key.revoke", rotated["id"], "a key"),
        ("api_key.rotate", own["id"], "a key"),
        ("api_key.create", own["id"], "a key"),
        ("api_key.create", first, "environment"),
    ]
    assert entries(client) == [("project.change", other, "environment"), ("project.create", other, "environment")]
    (entry,) = client.get(LOG, headers=theirs, params={"action": "api_key.create", "limit": 1}).json()["data"]
    assert (entry["request_id"], entry["key_id"], entry["project_id"]) == ("mine-1", first, other)
    assert entry["data"] == {"name": "own", "scopes": ["jobs:read"]}
    assert entries(client, theirs, target=rotated["id"]) == [("api_key.revoke", rotated["id"], "a key")]


def test_what_is_done_to_a_job_is_there(client: TestClient, roots: Path) -> None:
    text = roots / "a.txt"
    text.write_text("word " * 200)
    wanted = job({"source": "local", "path": str(write_model(roots / "m"))}, {"source": "local", "path": str(text)})
    id = client.post(JOBS, json=wanted).json()["id"]
    assert client.patch(f"{JOBS}/{id}", json={"name": "b"}).status_code == 200
    assert client.post(f"{JOBS}/{id}/finish").status_code == 409
    headers = make_key(client, "jobs:write")
    assert client.post(f"{JOBS}/{id}/cancel", headers=headers).status_code == 200
    assert entries(client, target=id) == [
        ("job.cancel", id, "a key"),
        ("job.change", id, "environment"),
        ("job.create", id, "environment"),
    ]


def test_what_was_refused_is_not_in_the_log(client: TestClient) -> None:
    make_project(client, "nlp")
    assert client.post(PROJECTS, json={"name": "nlp"}).status_code == 409
    assert client.delete(f"{PROJECTS}/proj_default").status_code == 409
    assert len(entries(client)) == 1


def test_the_log_is_for_administrators_and_in_pages(client: TestClient) -> None:
    assert client.get(LOG, headers=make_key(client, "jobs:read", "jobs:write")).status_code == 403
    for _ in range(3):
        make_key(client, "jobs:read")
    seen: list[str] = []
    url = f"{LOG}?limit=3&action=api_key.create"
    while url:
        answer = client.get(url)
        seen += [each["id"] for each in answer.json()["data"]]
        url = answer.links["next"]["url"] if answer.json()["has_more"] else ""
    assert len(seen) == len(set(seen)) == 4
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET key_name = 'me'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
def test_the_database_lets_nobody_change_the_log(
    client: TestClient, sessions: sessionmaker[Session], statement: str
) -> None:
    make_project(client)
    with pytest.raises(DatabaseError, match="can only grow"), sessions.begin() as session:
        session.execute(text(statement))
    assert len(entries(client)) == 1
