"""One worker at a time, and none that was overtaken can still write."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from app import store, verbs
from jobs.settings import load
from jobs.specs import JobSpec
from jobs.states import Verb
from jobs.tables import DEFAULT_PROJECT, JobRow, ProjectRow
from tests import revisions
from worker import leases, outbox, reaper
from worker.leases import Claim
from worker.workers import Worker

Sessions = sessionmaker[Session]


@pytest.fixture
def job_id(sessions: Sessions, spec: JobSpec) -> str:
    """A queued job whose doorbell was rung."""
    with sessions.begin() as session:
        id = store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=2).id
    ring_all(sessions)
    return id


def ring_all(sessions: Sessions) -> list[str]:
    with sessions.begin() as session:
        bells = outbox.unsent(session, 100)
        outbox.discard(session, bells)
    return [bell.job_id for bell in bells]


def claim(sessions: Sessions, job_id: str, lease_seconds: float = 30.0) -> Claim:
    with sessions.begin() as session:
        claimed = leases.claim(session, job_id, "worker-1", lease_seconds)
    assert claimed is not None
    return claimed


def job(sessions: Sessions, job_id: str) -> JobRow:
    with sessions.begin() as session:
        return store.get(session, job_id, project_id=DEFAULT_PROJECT)


def events(sessions: Sessions, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    with sessions.begin() as session:
        rows = store.events(session, job_id, project_id=DEFAULT_PROJECT, after=0, limit=1000)
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    return [(row.type, row.data) for row in rows]


def test_of_many_claims_one_wins(sessions: Sessions, job_id: str) -> None:
    def try_claim(number: int) -> Claim | None:
        with sessions.begin() as session:
            return leases.claim(session, job_id, f"worker-{number}", 30)

    with ThreadPoolExecutor(10) as pool:
        won = [claim for claim in pool.map(try_claim, range(10)) if claim is not None]
    row = job(sessions, job_id)
    assert [(claim.token, claim.attempt) for claim in won] == [(row.lease_token, 1)]
    assert (row.status, row.attempt, row.phase) == ("running", 1, "preparing")
    assert [type for type, _ in events(sessions, job_id)] == ["queued", "running"]


def test_events_of_many_writers_are_numbered_without_gaps(sessions: Sessions, job_id: str) -> None:
    claimed = claim(sessions, job_id)

    def write(number: int) -> bool:
        with sessions.begin() as session:
            return leases.append(session, claimed, [("log", {"message": f"{number}.{line}"}) for line in range(3)])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(16)))
    messages = [data["message"] for type, data in events(sessions, job_id) if type == "log"]
    assert sorted(messages) == sorted(f"{number}.{line}" for number in range(16) for line in range(3))
    assert all(int(messages[at].split(".")[1]) == at % 3 for at in range(48))


def test_progress_raises_the_version_and_a_beat_does_not(sessions: Sessions, job_id: str) -> None:
    claimed = claim(sessions, job_id)
    before = job(sessions, job_id)
    with sessions.begin() as session:
        assert leases.progress(session, claimed, "pruning", {"percent": 40.0})
        assert leases.beat(session, claimed, 30) == leases.Orders(cancel=False)
    after = job(sessions, job_id)
    assert (after.phase, after.progress, after.version) == ("pruning", {"percent": 40.0}, before.version + 1)
    assert after.progress_at is not None
    assert before.lease_expires_at is not None
    assert after.lease_expires_at is not None
    assert after.lease_expires_at > before.lease_expires_at


def test_success_shows_result_and_files_together(sessions: Sessions, job_id: str) -> None:
    claimed = claim(sessions, job_id)
    new = revisions.of(
        revisions.file("model.safetensors", 3 * 2**31, "a" * 64), revisions.file("config.json", 7, "b" * 64)
    )
    with sessions.begin() as session:
        assert leases.progress(session, claimed, "exporting", {"percent": 85.0, "step": 7})
        assert leases.succeed(session, claimed, {"parameters": 1}, [new])
        assert not leases.fail(session, claimed, {"code": "late"}, "late")
    row = job(sessions, job_id)
    result = {"parameters": 1, "model": "default/small-and-n-code", "commit": new.commit}
    assert (row.status, row.result, row.error, row.lease_token) == ("succeeded", result, None, None)
    assert row.progress == {"percent": 100.0, "step": 7, "eta_seconds": 0.0}
    assert row.finished_at is not None
    with sessions.begin() as session:
        assert [file.path for file in store.artifacts(session, job_id, project_id=DEFAULT_PROJECT)] == [
            "config.json",
            "model.safetensors",
        ]
        assert store.artifact(session, job_id, "model.safetensors", project_id=DEFAULT_PROJECT).bytes == 3 * 2**31


def test_a_cancel_reaches_the_holder_with_its_next_beat(sessions: Sessions, job_id: str) -> None:
    claimed = claim(sessions, job_id)
    with sessions.begin() as session:
        assert verbs.act(session, job_id, Verb.CANCEL, project_id=DEFAULT_PROJECT).status == "cancelling"
    with sessions.begin() as session:
        assert leases.beat(session, claimed, 30) == leases.Orders(cancel=True)
        assert leases.cancelled(session, claimed)
    row = job(sessions, job_id)
    assert (row.status, row.reason) == ("cancelled", "user_requested")
    assert [type for type, _ in events(sessions, job_id)] == ["queued", "running", "cancelling", "cancelled"]


def test_a_job_that_ends_before_it_hears_of_the_cancel_has_succeeded(sessions: Sessions, job_id: str) -> None:
    claimed = claim(sessions, job_id)
    with sessions.begin() as session:
        verbs.act(session, job_id, Verb.CANCEL, project_id=DEFAULT_PROJECT)
        assert leases.succeed(session, claimed, {}, [])
    assert job(sessions, job_id).status == "succeeded"


def test_an_overtaken_worker_can_write_nothing(sessions: Sessions, job_id: str) -> None:
    old = claim(sessions, job_id, lease_seconds=0)
    with sessions.begin() as session:
        assert reaper.settle(session, load()) == 1
    assert ring_all(sessions) == [job_id]
    new = claim(sessions, job_id)
    before = job(sessions, job_id)
    with sessions.begin() as session:
        assert leases.beat(session, old, 30) is None
        assert not leases.progress(session, old, "pruning", {})
        assert not leases.append(session, old, [("log", {})])
        assert not leases.succeed(session, old, {}, [revisions.of(revisions.file("a"))])
        assert not leases.fail(session, old, {}, "late")
        assert not leases.cancelled(session, old)
        assert not leases.release(session, old, "late")
    after = job(sessions, job_id)
    assert (after.version, after.last_seq, after.lease_token) == (before.version, before.last_seq, new.token)
    assert after.lease_expires_at == before.lease_expires_at
    assert [kind for kind, _ in events(sessions, job_id)] == ["queued", "running", "queued", "running"]


def test_a_released_job_queues_again_without_losing_an_attempt(sessions: Sessions, job_id: str) -> None:
    claimed = claim(sessions, job_id)
    with sessions.begin() as session:
        assert leases.release(session, claimed, "worker_stopped")
    row = job(sessions, job_id)
    assert (row.status, row.reason, row.max_attempts - row.attempt) == ("queued", "worker_stopped", 2)
    assert ring_all(sessions) == [job_id]


def test_a_released_job_that_was_to_be_cancelled_is_cancelled(sessions: Sessions, job_id: str) -> None:
    claimed = claim(sessions, job_id)
    with sessions.begin() as session:
        verbs.act(session, job_id, Verb.CANCEL, project_id=DEFAULT_PROJECT)
        assert leases.release(session, claimed, "worker_stopped")
    assert job(sessions, job_id).status == "cancelled"
    assert ring_all(sessions) == []


def test_two_relays_never_hold_the_same_doorbell(sessions: Sessions, spec: JobSpec) -> None:
    with sessions.begin() as session:
        for _ in range(4):
            store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=1)
    with sessions.begin() as first, sessions.begin() as second:
        mine = {bell.id for bell in outbox.unsent(first, 2)}
        theirs = {bell.id for bell in outbox.unsent(second, 100)}
    assert (len(mine), len(theirs), mine & theirs) == (2, 2, set())


BIG, SMALL = (
    Worker(id=f"host:1:{size}", host="host", memory_bytes=size, gpu_class=gpu_class)
    for size, gpu_class in ((80 * 10**9, "h100"), (10**9, None))
)


def claim_next(sessions: Sessions, worker: Worker = BIG) -> str | None:
    with sessions.begin() as session:
        claimed = leases.claim_next(session, worker, 30)
    return claimed and claimed.job_id


def submitted(sessions: Sessions, spec: JobSpec, project_id: str = DEFAULT_PROJECT, **changes: Any) -> str:
    with sessions.begin() as session:
        asked = JobSpec.model_validate(spec.model_dump() | changes)
        return store.create(session, asked, project_id=project_id, max_attempts=3).id


def test_a_higher_priority_goes_first_and_then_who_came_first(sessions: Sessions, spec: JobSpec) -> None:
    made = [submitted(sessions, spec, priority=priority) for priority in ("low", "normal", "high", "normal")]
    assert [claim_next(sessions) for _ in range(5)] == [made[2], made[1], made[3], made[0], None]


def test_projects_take_turns(sessions: Sessions, spec: JobSpec) -> None:
    with sessions.begin() as session:
        session.add(ProjectRow(id="proj_b", name="b", namespace="b"))
    first = [submitted(sessions, spec) for _ in range(3)]
    second = [submitted(sessions, spec, "proj_b") for _ in range(2)]
    assert [claim_next(sessions) for _ in range(5)] == [first[0], second[0], first[1], second[1], first[2]]


def test_a_project_has_no_more_jobs_at_work_than_it_may(sessions: Sessions, spec: JobSpec) -> None:
    with sessions.begin() as session:
        session.add(ProjectRow(id="proj_b", name="b", namespace="b", max_running=2))
    for _ in range(6):
        submitted(sessions, spec, "proj_b")
    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(lambda _: claim_next(sessions), range(6)))
    assert sum(job_id is not None for job_id in won) == 2


def test_the_services_own_limit_holds_where_a_project_has_none(sessions: Sessions, spec: JobSpec) -> None:
    made = [submitted(sessions, spec) for _ in range(3)]
    limited = replace(BIG, project_max_running=2)
    assert [claim_next(sessions, limited) for _ in range(3)] == [made[0], made[1], None]


def test_a_job_goes_only_to_a_worker_that_it_fits(sessions: Sessions, spec: JobSpec) -> None:
    large, special = submitted(sessions, spec), submitted(sessions, spec, gpu_class="h100")
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET needed_bytes = 40e9 WHERE id = :id"), {"id": large})
    assert claim_next(sessions, SMALL) is None
    assert [claim_next(sessions), claim_next(sessions)] == [large, special]


def test_a_job_that_rests_is_passed_over(sessions: Sessions, spec: JobSpec) -> None:
    resting, ready = submitted(sessions, spec), submitted(sessions, spec)
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET not_before = now() + interval '1 h' WHERE id = :id"), {"id": resting})
    assert [claim_next(sessions), claim_next(sessions)] == [ready, None]
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET not_before = now() - interval '1 s' WHERE id = :id"), {"id": resting})
    assert claim_next(sessions) == resting
