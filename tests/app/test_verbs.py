"""What may be asked of a job in each status, and what comes of it, on a real database."""

from threading import Barrier, Thread

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app import store, verbs
from jobs.errors import InvalidSpec, NotFound, StateConflict
from jobs.overrides import Overrides
from jobs.specs import JobSpec
from jobs.states import FINAL, LEASED, MOVES, VERBS, Status, Verb, allowed
from jobs.tables import DEFAULT_PROJECT, JobRow
from worker import leases, saved
from worker.depot import Stored
from worker.leases import Claim

Sessions = sessionmaker[Session]


def act(sessions: Sessions, job_id: str, verb: Verb, request: verbs.Request | None = None) -> JobRow:
    with sessions.begin() as session:
        return verbs.act(session, job_id, verb, request, project_id=DEFAULT_PROJECT, max_attempts=3)


def claimed(sessions: Sessions, job_id: str) -> Claim:
    with sessions.begin() as session:
        claim = leases.claim(session, job_id, "worker", 30)
    assert claim is not None
    return claim


def events(sessions: Sessions, job_id: str) -> list[str]:
    with sessions.begin() as session:
        return [row.type for row in store.events(session, job_id, project_id=DEFAULT_PROJECT, after=0, limit=100)]


@pytest.fixture
def job_id(sessions: Sessions, spec: JobSpec) -> str:
    with sessions.begin() as session:
        return store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=3).id


def brought_to(sessions: Sessions, job_id: str, status: Status) -> None:
    """By the ways that lead there."""
    match status:
        case Status.QUEUED:
            return
        case Status.PAUSED:
            act(sessions, job_id, Verb.PAUSE)
        case Status.RUNNING | Status.PAUSING | Status.CANCELLING:
            claimed(sessions, job_id)
            if status is not Status.RUNNING:
                act(sessions, job_id, Verb.PAUSE if status is Status.PAUSING else Verb.CANCEL)
        case Status.CANCELLED:
            act(sessions, job_id, Verb.CANCEL)
        case Status.SUCCEEDED | Status.FAILED:
            claim = claimed(sessions, job_id)
            with sessions.begin() as session:
                if status is Status.SUCCEEDED:
                    assert leases.succeed(session, claim, {}, [])
                else:
                    assert leases.fail(session, claim, {"code": "nan_loss"}, "nan_loss")


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("status", Status)
def test_each_verb_moves_a_job_as_the_table_says_or_is_refused_with_what_is_allowed(
    verb: Verb, status: Status, sessions: Sessions, job_id: str
) -> None:
    brought_to(sessions, job_id, status)
    with sessions.begin() as session:
        before = store.get(session, job_id, project_id=DEFAULT_PROJECT)
    target = VERBS[verb].get(status)
    if verb is Verb.RETRY and status in (Status.QUEUED, Status.RUNNING):
        target = status  # its first attempt is one that begins anew
    if verb is Verb.RESUME and status in FINAL:
        target = None  # there is no checkpoint
    if target is None or (verb is Verb.FINISH and before.attempt == 0):
        with pytest.raises(StateConflict) as caught:
            act(sessions, job_id, verb)
        assert caught.value.allowed == allowed(status, begun=before.attempt > 0, resumable=False)
        with sessions.begin() as session:
            assert store.get(session, job_id, project_id=DEFAULT_PROJECT).version == before.version
        return
    after = act(sessions, job_id, verb)
    assert after.status == target
    assert (after.finished_at is not None) == (target in FINAL)
    assert (after.lease_token is not None) == (target in LEASED)
    again = act(sessions, job_id, verb)
    assert (again.status, again.version) == (after.status, after.version)
    seen = events(sessions, job_id)
    assert len(seen) == len(set(seen)) + (seen.count("queued") - 1)


def test_every_move_of_a_verb_is_a_move_of_a_job() -> None:
    for moves in VERBS.values():
        for before, after in moves.items():
            assert before is after or after in MOVES[before]


def test_what_was_asked_reaches_the_worker_with_its_next_beat(sessions: Sessions, job_id: str) -> None:
    claim = claimed(sessions, job_id)
    heard = []
    for verb in (Verb.FINISH, Verb.PAUSE, Verb.CANCEL):
        act(sessions, job_id, verb, verbs.Request(reason="the budget is spent"))
        with sessions.begin() as session:
            heard.append(leases.beat(session, claim, 30))
    assert heard == [
        leases.Orders(cancel=False, pause=False, finish=True),
        leases.Orders(cancel=False, pause=True, finish=True),
        leases.Orders(cancel=True, pause=False, finish=True),
    ]
    with sessions.begin() as session:
        rows = store.events(session, job_id, project_id=DEFAULT_PROJECT, after=2, limit=9)
    assert [row.type for row in rows] == ["finish_requested", "pausing", "cancelling"]
    assert {row.data["message"] for row in rows} == {"the budget is spent"}


def test_a_paused_job_goes_on_with_as_many_attempts_as_it_had(sessions: Sessions, job_id: str) -> None:
    for number in range(1, 6):
        claim = claimed(sessions, job_id)
        assert claim.attempt == number
        act(sessions, job_id, Verb.PAUSE)
        with sessions.begin() as session:
            assert leases.paused(session, claim)
        resumed = act(sessions, job_id, Verb.RESUME)
        assert (resumed.status, resumed.pause_requested_at, resumed.reason) == ("queued", None, None)
        assert resumed.max_attempts - resumed.attempt == 3
    with sessions.begin() as session:
        attempts = store.attempts(session, job_id, project_id=DEFAULT_PROJECT)
    assert [(row.number, row.worker, row.outcome) for row in attempts] == [(n, "worker", "paused") for n in range(1, 6)]
    assert all(row.ended_at is not None and row.ended_at >= row.started_at for row in attempts)


def test_a_failed_job_goes_on_from_a_checkpoint_or_begins_anew(sessions: Sessions, job_id: str) -> None:
    first = claimed(sessions, job_id)
    with sessions.begin() as session:
        saved.record(session, first, Stored("key", "0" * 64, {}, 5, "pruning", 0.1, 20.0), resumed_from=None)
        assert leases.fail(session, first, {"code": "nan_loss"}, "nan_loss")
    resumed = act(sessions, job_id, Verb.RESUME)
    with sessions.begin() as session:
        (*_, told) = store.events(session, job_id, project_id=DEFAULT_PROJECT, after=0, limit=9)
    assert (told.type, told.data["verb"], told.data["begins_anew"]) == ("queued", "resume", False)
    assert (resumed.status, resumed.error, resumed.finished_at) == ("queued", None, None)
    assert (resumed.first_attempt, resumed.max_attempts) == (1, 4)
    claim = claimed(sessions, job_id)
    with sessions.begin() as session:
        assert leases.fail(session, claim, {"code": "nan_loss"}, "nan_loss")
    anew = act(sessions, job_id, Verb.RETRY)
    assert (anew.first_attempt, anew.max_attempts, anew.overrides) == (3, 5, {})
    claim = claimed(sessions, job_id)
    assert claim.attempt == 3
    with sessions.begin() as session:
        assert leases.fail(session, claim, {"code": "nan_loss"}, "nan_loss")
    with pytest.raises(StateConflict, match="no checkpoint to go on from") as caught:
        act(sessions, job_id, Verb.RESUME)
    assert caught.value.allowed == (Verb.RETRY,)


def test_overrides_reach_the_next_attempt_and_impossible_ones_are_refused(sessions: Sessions, job_id: str) -> None:
    act(sessions, job_id, Verb.PAUSE)
    with pytest.raises(InvalidSpec, match="does not divide") as caught:
        act(sessions, job_id, Verb.RESUME, verbs.ResumeRequest(overrides=Overrides(micro_batch_size=3)))
    assert caught.value.errors[0].pointer == "/overrides"
    act(sessions, job_id, Verb.RESUME, verbs.ResumeRequest(overrides=Overrides(micro_batch_size=2)))
    claim = claimed(sessions, job_id)
    with sessions.begin() as session:
        row = store.get(session, job_id, project_id=DEFAULT_PROJECT)
    assert claim.spec["method"]["train"]["micro_batch_size"] == 2
    assert row.spec["method"]["train"]["micro_batch_size"] is None
    assert row.overrides == {"micro_batch_size": 2}


def test_a_claim_and_a_cancel_at_once_end_in_one_order_or_the_other(sessions: Sessions, spec: JobSpec) -> None:
    for _ in range(10):
        with sessions.begin() as session:
            job_id = store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=3).id
        start = Barrier(2)

        def cancel(job_id: str = job_id, start: Barrier = start) -> None:
            start.wait()
            act(sessions, job_id, Verb.CANCEL)

        canceller = Thread(target=cancel)
        canceller.start()
        start.wait()
        with sessions.begin() as session:
            claim = leases.claim(session, job_id, "worker", 30)
        canceller.join()
        with sessions.begin() as session:
            status = store.get(session, job_id, project_id=DEFAULT_PROJECT).status
        assert status == ("cancelled" if claim is None else "cancelling")


def test_a_job_that_is_not_there_is_not_found(sessions: Sessions) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        act(sessions, "nowhere", Verb.CANCEL)


def test_the_limits_of_a_spec_are_on_its_row(sessions: Sessions, spec: JobSpec) -> None:
    limits = {"max_attempts": 7, "max_runtime_seconds": 60, "deadline": "2100-01-01T00:00:00+01:00"}
    asked = JobSpec.model_validate({**spec.model_dump(), "limits": limits, "priority": "high", "gpu_class": "h100"})
    with sessions.begin() as session:
        row = store.create(session, asked, project_id=DEFAULT_PROJECT, max_attempts=3)
    assert (row.max_attempts, row.max_runtime_seconds, row.priority, row.gpu_class) == (7, 60, 1, "h100")
    assert row.deadline_at is not None
    assert row.deadline_at.isoformat() == "2099-12-31T23:00:00+00:00"
