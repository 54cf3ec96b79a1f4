"""Why jobs wait, told over HTTP."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app import store
from jobs.specs import JobSpec
from jobs.states import Status, Verb
from jobs.tables import DEFAULT_PROJECT, JobRow, WorkerRow
from worker import leases

Sessions = sessionmaker[Session]
WORKER = {"id": "host:1:a", "host": "host", "gpu_class": "a100", "memory_bytes": 40 * 10**9}


def submit(sessions: Sessions, spec: JobSpec, **changes: Any) -> str:
    with sessions.begin() as session:
        asked = JobSpec.model_validate(spec.model_dump() | changes)
        return store.create(session, asked, project_id=DEFAULT_PROJECT, max_attempts=3).id


def write(sessions: Sessions, statement: str) -> None:
    with sessions.begin() as session:
        session.execute(text(statement))


def test_each_reason_to_wait_is_told_until_the_job_is_taken(
    client: TestClient, sessions: Sessions, spec: JobSpec
) -> None:
    first, job_id = submit(sessions, spec), submit(sessions, spec, gpu_class="h100")
    url = f"/v1/compression/jobs/{job_id}"
    assert client.get(url).json()["urls"]["waiting"] == f"{url}/waiting"

    def reason() -> str:
        told = client.get(f"{url}/waiting").json()
        assert (told["waits"], told["ahead"]) == (True, 1)
        return str(told["blocked_on"])

    assert reason() == "no_worker"
    with sessions.begin() as session:
        session.add(WorkerRow(**WORKER))
    assert reason() == "no_worker_of_class"
    write(sessions, "UPDATE workers SET gpu_class = 'h100'")
    assert reason() == "turn"
    write(sessions, "UPDATE jobs SET needed_bytes = 80e9")
    assert reason() == "no_worker_large_enough"
    write(sessions, "UPDATE jobs SET needed_bytes = 1")
    write(sessions, "UPDATE workers SET seen_at = now() - interval '1 h'")
    assert reason() == "no_worker"
    write(sessions, "UPDATE workers SET seen_at = now(), fault = 'ECC'")
    assert reason() == "no_worker"
    write(sessions, "UPDATE workers SET fault = NULL")
    write(sessions, f"UPDATE projects SET max_running = 0 WHERE id = '{DEFAULT_PROJECT}'")
    assert reason() == "project_limit"
    write(sessions, f"UPDATE jobs SET not_before = now() + interval '1 h' WHERE id = '{job_id}'")
    assert reason() == "not_before"
    with sessions.begin() as session:
        assert leases.claim(session, first, "worker", 30)
    assert client.get(f"/v1/compression/jobs/{first}/waiting").json()["waits"] is False


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.RESUME, Verb.CANCEL, Verb.RETRY])
def test_verbs_over_http_take_a_reason_and_refuse_what_they_do_not_know(
    verb: Verb, client: TestClient, sessions: Sessions, spec: JobSpec
) -> None:
    job_id = submit(sessions, spec)
    if verb is not Verb.PAUSE:
        client.post(f"/v1/compression/jobs/{job_id}/pause")
    if verb is Verb.RETRY:
        client.post(f"/v1/compression/jobs/{job_id}/cancel")
    url = f"/v1/compression/jobs/{job_id}/{verb}"
    assert client.post(url, json={"why": "typo"}).json()["errors"][0]["pointer"] == "/why"
    answer = client.post(url, json={"reason": "because"})
    assert answer.status_code == 200, answer.text
    with sessions.begin() as session:
        events = store.events(session, job_id, project_id=DEFAULT_PROJECT, after=0, limit=10)
        row = session.get(JobRow, job_id)
    assert events[-1].data["message"] == "because"
    assert row is not None
    assert answer.json()["status"] == Status(row.status)
