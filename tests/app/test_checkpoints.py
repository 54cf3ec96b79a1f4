"""What a job can go on from, and what each attempt at it cost, over HTTP."""

from typing import Any

from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app import store
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT
from worker import leases, saved
from worker.depot import Stored
from worker.retries import Retry

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
