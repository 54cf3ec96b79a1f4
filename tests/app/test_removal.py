"""Jobs and files that are removed."""

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app import datasets, store
from jobs.errors import DatasetNotFound
from jobs.registry_tables import RevisionFileRow
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT, EventRow, FileRow, JobRow
from tests import revisions
from tests.app.conftest import job, write_model
from tests.app.tenants import LOG, make_key, make_project
from worker import leases

JOBS, FILES = "/v1/compression/jobs", "/v1/files"


@pytest.fixture
def file_id(client: TestClient) -> str:
    uploaded = client.post(FILES, params={"name": "train.txt"}, content=b"some text " * 100)
    return str(uploaded.json()["id"])


@pytest.fixture
def job_id(client: TestClient, roots: Path, file_id: str) -> str:
    """A job that waits, and has the file as its training text."""
    return post(client, roots, {"source": "file", "id": file_id})


def post(client: TestClient, roots: Path, dataset: dict[str, Any], **changes: Any) -> str:
    write_model(roots / "llama")
    made = client.post(JOBS, json=job({"source": "local", "path": str(roots / "llama")}, dataset, **changes))
    assert made.status_code == 202, made.text
    return str(made.json()["id"])


def test_a_job_that_has_ended_is_removed_with_all_that_belongs_to_it(
    client: TestClient, job_id: str, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        claim = leases.claim(session, job_id, "worker", 60)
        assert claim is not None
    refused = client.delete(f"{JOBS}/{job_id}")
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state_transition")
    assert "cancel" in refused.json()["allowed"]
    with sessions.begin() as session:
        assert leases.succeed(session, claim, {}, [revisions.of(revisions.file("model.safetensors"))])
    assert client.delete(f"{JOBS}/{job_id}").status_code == 204
    assert client.get(f"{JOBS}/{job_id}").status_code == 404
    assert client.delete(f"{JOBS}/{job_id}").status_code == 404
    assert client.get(JOBS).json()["data"] == []
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(EventRow)) == 0
        assert session.scalars(select(RevisionFileRow.path)).all() == ["model.safetensors"]
    assert client.get(LOG).json()["data"][0]["action"] == "job.delete"


def test_a_file_stays_for_as_long_as_a_job_may_read_it(client: TestClient, job_id: str, file_id: str) -> None:
    refused = client.delete(f"{FILES}/{file_id}")
    assert (refused.status_code, refused.json()["code"]) == (409, "file_in_use")
    assert job_id in refused.json()["detail"]
    client.post(f"{JOBS}/{job_id}/cancel")
    assert client.delete(f"{FILES}/{file_id}").status_code == 204
    assert client.get(f"{FILES}/{file_id}").status_code == 404
    assert client.delete(f"{FILES}/{file_id}").status_code == 404


def test_a_file_of_a_job_that_is_just_being_sent_is_not_removed(
    client: TestClient, roots: Path, file_id: str, sessions: sessionmaker[Session]
) -> None:
    write_model(roots / "llama")
    asked = job({"source": "local", "path": str(roots / "llama")}, {"source": "file", "id": file_id})
    spec = JobSpec.model_validate(asked)
    with ThreadPoolExecutor() as pool:
        with sessions.begin() as session:
            datasets.hold(session, spec, DEFAULT_PROJECT)
            removal = pool.submit(client.delete, f"{FILES}/{file_id}")
            assert wait([removal], timeout=0.5).not_done
            store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=1)
        assert (removal.result().status_code, removal.result().json()["code"]) == (409, "file_in_use")
    with sessions.begin() as session:
        session.execute(delete(JobRow))
        session.execute(delete(FileRow))
    with sessions.begin() as session, pytest.raises(DatasetNotFound, match=file_id):
        datasets.hold(session, spec, DEFAULT_PROJECT)


def test_a_file_to_evaluate_on_is_in_use_too(client: TestClient, roots: Path, file_id: str) -> None:
    other = client.post(FILES, params={"name": "other.txt"}, content=b"some text " * 100).json()["id"]
    post(client, roots, {"source": "file", "id": other}, evaluation__dataset={"source": "file", "id": file_id})
    assert client.delete(f"{FILES}/{file_id}").status_code == 409


def test_nobody_removes_what_is_another_s_or_without_the_right(client: TestClient, job_id: str, file_id: str) -> None:
    client.post(f"{JOBS}/{job_id}/cancel")
    theirs = make_key(client, "jobs:write", project_id=make_project(client))
    reader = make_key(client, "jobs:read")
    for place in (f"{JOBS}/{job_id}", f"{FILES}/{file_id}"):
        assert client.delete(place, headers=theirs).status_code == 404
        assert client.delete(place, headers=reader).status_code == 403
        assert client.get(place).status_code == 200
