"""Keys and what they open: projects apart, scopes, expiry, revocation."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app import auth, keys, store
from app.callers import Scope
from app.main import create_app
from app.tables import ApiKeyRow
from jobs.settings import Settings
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT, ProjectRow
from tests.app.conftest import job, write_model

JOBS = "/v1/compression/jobs"
FOR_EVERY_KEY = {"/healthz", "/readyz", "/v1/me", "/v1/methods"}
Sessions = sessionmaker[Session]
MakeKey = Callable[..., dict[str, str]]


@pytest.fixture
def other(sessions: Sessions) -> str:
    """The id of a second project."""
    with sessions.begin() as session:
        session.add(ProjectRow(id="proj_other", name="other", namespace="other"))
    return "proj_other"


@pytest.fixture
def key(sessions: Sessions) -> MakeKey:
    """Makes a key; returns the header that carries it."""

    def make(*scopes: Scope, project_id: str = DEFAULT_PROJECT) -> dict[str, str]:
        with sessions.begin() as session:
            made = keys.create(session, project_id=project_id, name="a key", scopes=scopes)
        return {"Authorization": f"Bearer {made.token}"}

    return make


def last_use(sessions: Sessions) -> datetime | None:
    with sessions.begin() as session:
        return session.scalars(select(ApiKeyRow.last_used_at)).one()


def change(sessions: Sessions, statement: str) -> None:
    with sessions.begin() as session:
        session.execute(text(statement))


def test_a_key_is_kept_as_its_hash_alone(sessions: Sessions, key: MakeKey) -> None:
    token = key(Scope.JOBS_READ)["Authorization"].removeprefix("Bearer ")
    assert keys.FORMAT.fullmatch(token.encode())
    with sessions.begin() as session:
        kept = session.execute(text("SELECT api_keys::text FROM api_keys")).scalar_one()
    secret = token.rpartition("_")[2]
    assert secret not in kept
    assert keys.digest(token.encode()).hex() in kept


def test_what_belongs_to_another_project_is_not_there(
    client: TestClient, key: MakeKey, other: str, roots: Path, small_text: Path
) -> None:
    model = {"source": "local", "path": str(write_model(roots / "model"))}
    theirs = key(Scope.ADMIN, project_id=other)
    uploaded = client.post("/v1/files", params={"name": "a.txt"}, content=small_text.read_bytes()).json()
    data = {"source": "file", "id": uploaded["id"]}
    made = client.post(JOBS, json=job(model, data)).json()
    assert client.get(f"{JOBS}/{made['id']}").status_code == 200

    for method, path in (
        ("GET", f"{JOBS}/{made['id']}"),
        ("GET", f"{JOBS}/{made['id']}/events"),
        ("GET", f"{JOBS}/{made['id']}/artifacts"),
        ("GET", f"{JOBS}/{made['id']}/artifacts/config.json"),
        ("HEAD", f"{JOBS}/{made['id']}/artifacts/config.json"),
        ("POST", f"{JOBS}/{made['id']}/cancel"),
        ("GET", f"/v1/files/{uploaded['id']}"),
    ):
        answer = client.request(method, path, headers=theirs)
        assert answer.status_code == 404, (method, path)
        assert method == "HEAD" or answer.json()["code"] == "not_found"
    assert client.get(JOBS, headers=theirs).json()["data"] == []
    assert client.get(f"{JOBS}?after={made['id']}", headers=theirs).json()["code"] == "invalid_cursor"
    refused = client.post(JOBS, json=job(model, data), headers=theirs)
    assert (refused.status_code, refused.json()["code"]) == (422, "dataset_not_found")
    assert refused.json()["errors"][0]["pointer"] == "/dataset/id"
    assert client.get(f"{JOBS}/{made['id']}").json()["status"] == "queued"


def test_a_key_does_what_its_scopes_say_and_no_more(client: TestClient, key: MakeKey) -> None:
    allowed = {
        ("GET", JOBS): {Scope.JOBS_READ, Scope.ADMIN},
        ("GET", f"{JOBS}/cjob_0"): {Scope.JOBS_READ, Scope.ADMIN},
        ("GET", f"{JOBS}/cjob_0/events"): {Scope.JOBS_READ, Scope.ADMIN},
        ("POST", JOBS): {Scope.JOBS_WRITE, Scope.ADMIN},
        ("POST", f"{JOBS}/cjob_0/cancel"): {Scope.JOBS_WRITE, Scope.ADMIN},
        ("POST", "/v1/files?name=a.txt"): {Scope.JOBS_WRITE, Scope.ADMIN},
        ("GET", f"{JOBS}/cjob_0/artifacts"): {Scope.MODELS_READ, Scope.ADMIN},
        ("GET", f"{JOBS}/cjob_0/artifacts/a"): {Scope.MODELS_READ, Scope.ADMIN},
        ("GET", "/v1/methods"): set(Scope),
    }
    for scope in Scope:
        headers = key(scope)
        for (method, path), scopes in allowed.items():
            answer = client.request(method, path, headers=headers, json={})
            assert (answer.status_code == 403) == (scope not in scopes), (scope, method, path)
            if answer.status_code == 403:
                assert answer.json()["code"] == "insufficient_scope"
                assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_key_without_scopes_opens_nothing_of_a_project(
    client: TestClient, key: MakeKey, subtests: pytest.Subtests
) -> None:
    """A route that forgot to ask for a scope would serve every key."""
    headers = key()
    for path, methods in client.get("/v1/openapi.json", headers=headers).json()["paths"].items():
        for method in methods:
            with subtests.test(f"{method} {path}"):
                answer = client.request(method, path, headers=headers, json={}, params={"name": "a.txt"})
                assert (answer.status_code == 403) == (path not in FOR_EVERY_KEY)


def test_a_revoked_or_expired_key_opens_nothing_and_says_why(
    client: TestClient, sessions: Sessions, key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REMEMBERED_SECONDS", 0.0)
    headers = key(Scope.ADMIN)
    assert client.get(JOBS, headers=headers).status_code == 200
    for column, said in (("expires_at", "expired"), ("revoked_at", "revoked")):
        change(sessions, f"UPDATE api_keys SET {column} = now()")
        answer = client.get(JOBS, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert said in answer.json()["detail"]
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        # Without the secret nobody learns that there is such a key.
        wrong = {"Authorization": headers["Authorization"][:-1] + "~"}
        other = {"Authorization": headers["Authorization"][:-1] + ("b" if headers["Authorization"][-1] == "a" else "a")}
        for forged in (wrong, other):
            assert said not in client.get(JOBS, headers=forged).json()["detail"]


def test_a_key_is_not_looked_up_for_every_request(client: TestClient, sessions: Sessions, key: MakeKey) -> None:
    headers = key(Scope.JOBS_READ)
    assert last_use(sessions) is None
    client.get(JOBS, headers=headers)
    assert last_use(sessions) is not None
    change(sessions, "UPDATE api_keys SET last_used_at = NULL")
    client.get(JOBS, headers=headers)
    assert last_use(sessions) is None


def test_the_last_use_of_a_key_is_noted_to_the_minute(
    client: TestClient, sessions: Sessions, key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REMEMBERED_SECONDS", 0.0)
    headers = key(Scope.JOBS_READ)
    for seconds, noted in ((30, False), (61, True)):
        change(sessions, f"UPDATE api_keys SET last_used_at = now() - interval '{seconds} seconds'")
        before = last_use(sessions)
        client.get(JOBS, headers=headers)
        assert (last_use(sessions) != before) == noted


def test_without_the_database_a_key_of_it_is_asked_to_come_again(door_settings: Settings, key: MakeKey) -> None:
    nowhere = type(door_settings.database_url)("postgresql+psycopg://u:p@127.0.0.1:1/x")
    with TestClient(create_app(door_settings.model_copy(update={"database_url": nowhere}))) as lame:
        answer = lame.get("/v1/methods", headers=key(Scope.ADMIN))
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_error")
        assert "127.0.0.1" not in answer.text
        assert lame.get("/v1/methods", headers={"Authorization": "Bearer nobody's"}).status_code == 401
        own = {"Authorization": f"Bearer {door_settings.api_key.get_secret_value()}"}
        assert lame.get("/v1/methods", headers=own).status_code == 200


def test_what_was_there_before_belongs_to_the_default_project(
    sessions: Sessions, engine: Engine, spec: JobSpec
) -> None:
    migrations = Config()
    migrations.set_main_option("script_location", "migrations")
    with sessions.begin() as session:
        made = store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=1)
    command.downgrade(migrations, "0001")
    assert "projects" not in inspect(engine).get_table_names()
    command.upgrade(migrations, "head")
    with sessions.begin() as session:
        assert store.get(session, made.id, project_id=DEFAULT_PROJECT).id == made.id
        assert session.scalars(select(ProjectRow.name)).all() == ["default"]
    with pytest.raises(IntegrityError, match="project_id"):
        change(sessions, "INSERT INTO files (id, name, bytes, sha256) VALUES ('file_1', 'a', 1, 'b')")
