"""What a job can go on from, and what each attempt at it cost, over HTTP."""

from typing import Any

from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app import store
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT, JobRow
from worker import leases, saved
from worker.depot import Stored
from worker.retries import Retry

JOBS = "/v1/compression/jobs"
ENTRY = {"bytes": 1000, "sha256": "a" * 64}


def stored(step: int, sparsity: float, perplexity: float) -> Stored:
    files = {"job.json": ENTRY, "weights": ENTRY}
    return Stored(f"manifest-{step}", "b" * 64, files, step, "pruning", sparsity, perplexity)


def test_checkpoints_and_attempts_of_a_job(client: TestClient, spec: JobSpec, sessions: sessionmaker[Session]) -> None:
    error: dict[str, Any] = {"code": "out_of_gpu_memory", "phase": "pruning", "step": 9}
    with sessions.begin() as session:
        job_id = store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=3).id
        first = leases.claim(session, job_id, "worker-1", 30)
        assert first is not None
        # The second is the best of the smallest; the first predicts better, but is larger.
        for step, sparsity, perplexity in [(1, 0.1, 5.0), (2, 0.3, 8.0), (3, 0.3, 9.0), (4, 0.3, 9.5), (5, 0.3, 8.5)]:
            assert saved.record(session, first, stored(step, sparsity, perplexity), resumed_from=None)
        assert leases.progress(session, first, "pruning", {"step": 9})
        assert leases.requeue(session, first, error, Retry(0, {"micro_batch_size": 2}))
        second = leases.claim(session, job_id, "worker-2", 30)
        assert second is not None
        assert saved.record(session, first, stored(6, 0.3, 1.0), resumed_from=None) is None, "fenced"
        newest = saved.usable(session, second)[0]
        assert saved.resumed(session, second, newest, ["number 6, weights is missing"])
    job = client.get(f"/v1/compression/jobs/{job_id}").json()
    kept = client.get(job["urls"]["checkpoints"]).json()["data"]
    assert [(one["number"], one["step"], one["is_best"], one["bytes"]) for one in kept] == [
        (2, 2, True, 2000),
        (3, 3, False, 2000),
        (4, 4, False, 2000),
        (5, 5, False, 2000),
    ]
    assert (kept[0]["sparsity"], kept[0]["perplexity"], kept[0]["attempt"], kept[0]["kind"]) == (0.3, 8.0, 1, "state")
    tries = client.get(job["urls"]["attempts"]).json()["data"]
    assert [(one["reached_step"], one["lost_steps"], one["resumed_step"]) for one in tries] == [
        (9, 4, None),
        (None, None, 5),
    ]
    assert job["overrides"] == {"micro_batch_size": 2}
    events = client.get(job["urls"]["events"], params={"limit": 100}).json()["data"]
    resumed = next(event["data"] for event in events if event["type"] == "resumed")
    assert resumed == {"checkpoint": 5, "step": 5, "attempt": 1, "lost_steps": 4}


def begun(sessions: sessionmaker[Session], job_id: str, *checkpoints: Stored) -> None:
    """A worker has the job, and has kept these."""
    with sessions.begin() as session:
        claim = leases.claim(session, job_id, "worker", 60)
        assert claim is not None
        for one in checkpoints:
            assert saved.record(session, claim, one, resumed_from=None)


def test_a_checkpoint_is_published_by_a_job_of_its_own(
    client: TestClient, sound: dict[str, Any], sessions: sessionmaker[Session]
) -> None:
    late = {"limits": {"deadline": "2100-01-01T00:00:00Z", "max_runtime_seconds": 600}}
    first = client.post(JOBS, json={**sound, **late, "name": "Small Llama", "metadata": {"team": "nlp"}}).json()
    begun(sessions, first["id"], stored(5, 0.1, 8.0))
    (listed,) = client.get(first["urls"]["checkpoints"]).json()["data"]
    assert listed["publishable"]
    place = f"{first['urls']['checkpoints']}/1/publish"
    headers = {"Idempotency-Key": "once"}

    answer = client.post(place, headers=headers)

    made = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"{JOBS}/{made['id']}"), made
    assert made["from_checkpoint"] == {"job_id": first["id"], "number": 1, "step": 5}
    assert (made["status"], made["name"], made["plan"]) == ("queued", "Small Llama, step 5", None)
    assert made["config"]["output"]["repository"] == "small-llama"
    assert made["config"]["limits"] == {**first["config"]["limits"], "deadline": None}
    changed = {"name", "output", "limits"}
    assert {key: value for key, value in made["config"].items() if key not in changed} == {
        key: value for key, value in first["config"].items() if key not in changed
    }
    again = client.post(place, headers=headers)
    assert (again.json()["id"], again.headers["Idempotent-Replayed"]) == (made["id"], "true")
    # What it goes on from is listed, and can be published from there, too.
    (lent,) = client.get(made["urls"]["checkpoints"]).json()["data"]
    assert (lent["number"], lent["step"], lent["attempt"]) == (1, 5, 0)
    third = client.post(f"{made['urls']['checkpoints']}/1/publish", json={"name": "third"}).json()
    assert (third["name"], third["config"]["output"]["repository"]) == ("third", "small-llama")
    usage = client.get("/v1/usage").json()
    assert usage["checkpoint_bytes"] == listed["bytes"]
    with sessions() as session:
        needed = {session.get_one(JobRow, job_id).needed_bytes for job_id in (first["id"], made["id"], third["id"])}
    assert len(needed) == 1
    entries = client.get("/v1/audit_log").json()["data"]
    (entry, *_) = [entry for entry in entries if entry["target"] == made["id"]]
    assert (entry["action"], entry["data"]) == ("checkpoint.publish", {"job_id": first["id"], "number": 1})


def test_what_cannot_be_published_is_refused_with_what_can(
    client: TestClient, sound: dict[str, Any], sessions: sessionmaker[Session]
) -> None:
    first = client.post(JOBS, json=sound).json()
    place = first["urls"]["checkpoints"]
    begun(sessions, first["id"], stored(1, 0.0, 8.0), stored(2, 0.1, 8.0))
    assert [one["publishable"] for one in client.get(place).json()["data"]] == [False, True]
    early, absent = client.post(f"{place}/1/publish"), client.post(f"{place}/9/publish")
    assert (early.status_code, early.json()["code"]) == (409, "checkpoint_not_publishable")
    assert (absent.status_code, absent.json()["code"]) == (404, "not_found")
    assert early.json()["hint"] == absent.json()["hint"] == "These can be published: 2."
    assert client.post(f"{JOBS}/cjob_other/checkpoints/1/publish").status_code == 404
    impossible = client.post(f"{place}/2/publish", json={"output": {"formats": ["w4a16"]}})
    assert (impossible.status_code, impossible.json()["errors"][0]["pointer"]) == (422, "/output/formats/0")
    unknown = client.post(f"{place}/2/publish", json={"output": {"format": "onnx"}})
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/output/format")
    assert len(client.get(JOBS).json()["data"]) == 1
