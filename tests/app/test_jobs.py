"""Jobs over HTTP: asked for, read, listed, cancelled, followed."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from worker import leases

JOBS = "/v1/compression/jobs"


def test_an_accepted_job_is_echoed_with_every_default_and_its_plan(
    client: TestClient, sound: dict[str, Any], stored: Callable[[], tuple[int, ...]]
) -> None:
    answer = client.post(JOBS, json={**sound, "name": "tiny", "metadata": {"team": "nlp"}})
    made = answer.json()
    assert answer.status_code == 202, made
    assert answer.headers["Location"] == made["urls"]["self"] == f"{JOBS}/{made['id']}"
    assert made["object"] == "compression.job"
    assert (made["status"], made["name"], made["metadata"]) == ("queued", "tiny", {"team": "nlp"})
    assert made["config"]["method"]["train"]["sequence_length"] == 64
    assert made["config"]["method"]["lora"] == {
        "rank": 8,
        "alpha": 16.0,
        "dropout": 0.0,
        "norms": False,
        "start": "gradient",
    }
    # A layer has 4 groups of 48 vectors and 256 channels of 3, all 64 long: a quarter is one group and 64 channels.
    assert made["plan"]["kv_heads"] == {"before": 4, "after": 3}
    assert made["plan"]["query_heads"] == {"before": 8, "after": 6}
    assert made["plan"]["ffn"] == {"before": 256, "after": 192}
    assert made["plan"]["ratio"] == 0.25
    assert client.get(made["urls"]["self"]).json() == made
    assert stored() == (1, 1, 1, 1, 1, 0)


def test_the_pages_of_a_list_hold_every_job_once_in_both_orders(client: TestClient, sound: dict[str, Any]) -> None:
    made = [client.post(JOBS, json=sound).json()["id"] for _ in range(5)]
    for order, expected in (("asc", made), ("desc", made[::-1])):
        url: str | None = f"{JOBS}?limit=2&order={order}&status=queued"
        seen: list[str] = []
        while url:
            page = client.get(url)
            body = page.json()
            assert (body["first_id"], body["last_id"]) == (body["data"][0]["id"], body["data"][-1]["id"])
            seen += [entry["id"] for entry in body["data"]]
            assert body["has_more"] == ("next" in page.links)
            url = page.links["next"]["url"] if body["has_more"] else None
        assert seen == expected
    assert client.get(JOBS, params={"limit": 1000}).json()["has_more"] is False
    assert client.get(JOBS, params={"status": "running"}).json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
        "total": None,
    }


def test_a_queued_job_is_cancelled_at_once_and_again_without_effect(client: TestClient, sound: dict[str, Any]) -> None:
    urls = client.post(JOBS, json=sound).json()["urls"]
    first = client.post(urls["cancel"])
    assert first.status_code == 200
    assert first.json()["status"] == "cancelled"
    assert first.json()["finished_at"] is not None
    assert client.post(urls["cancel"]).json() == first.json()
    listed = client.get(JOBS, params={"status": "canceled"}).json()["data"]
    assert [entry["id"] for entry in listed] == [first.json()["id"]]


def test_a_running_job_shows_its_progress_and_hears_of_its_cancellation(
    client: TestClient, sound: dict[str, Any], sessions: sessionmaker[Session]
) -> None:
    made = client.post(JOBS, json=sound).json()
    with sessions.begin() as session:
        claim = leases.claim(session, made["id"], "worker-1", 30)
        assert claim is not None
        assert leases.progress(session, claim, "pruning", {"percent": 41.8, "step": 12, "loss": 2.5})
    running = client.get(made["urls"]["self"]).json()
    assert (running["status"], running["phase"], running["attempt"]) == ("running", "pruning", 1)
    assert running["version"] > made["version"]
    assert running["progress"]["step"] == 12
    assert running["progress"]["eta_seconds"] is None
    assert running["progress"]["updated_at"] is not None
    asked = client.post(made["urls"]["cancel"]).json()
    assert asked["status"] == "cancelling"
    assert asked["cancel_requested_at"] is not None


def test_a_failed_job_tells_why_and_cannot_be_cancelled(
    client: TestClient, sound: dict[str, Any], sessions: sessionmaker[Session]
) -> None:
    made = client.post(JOBS, json=sound).json()
    with sessions.begin() as session:
        claim = leases.claim(session, made["id"], "worker-1", 30)
        assert claim is not None
        assert leases.fail(session, claim, {"code": "nan_loss", "message": "NaN at step 3."}, "nan_loss")
    failed = client.get(made["urls"]["self"]).json()
    assert (failed["status"], failed["reason"]) == ("failed", "nan_loss")
    assert failed["error"] == {"code": "nan_loss", "message": "NaN at step 3."}
    refused = client.post(made["urls"]["cancel"])
    assert refused.status_code == 409
    assert refused.json()["code"] == "invalid_state_transition"
    assert refused.json()["allowed"] == ["retry"]


def test_a_reason_that_cannot_be_stored_is_refused_and_changes_nothing(
    client: TestClient, sound: dict[str, Any]
) -> None:
    made = client.post(JOBS, json=sound).json()
    for verb in ("cancel", "pause", "resume", "finish", "retry"):
        refused = client.post(made["urls"][verb], json={"reason": "a\0b"})
        assert refused.status_code == 422
        (field,) = refused.json()["errors"]
        assert (field["pointer"], field["code"]) == ("/reason", "nul_character")
    assert client.get(made["urls"]["self"]).json() == made


def test_events_are_followed_by_their_number(
    client: TestClient, sound: dict[str, Any], sessions: sessionmaker[Session]
) -> None:
    made = client.post(JOBS, json=sound).json()
    with sessions.begin() as session:
        claim = leases.claim(session, made["id"], "worker-1", 30)
        assert claim is not None
        leases.append(session, claim, [("log", {"message": f"line {number}"}) for number in range(4)])
    first = client.get(made["urls"]["events"], params={"limit": 4}).json()
    assert [(event["seq"], event["type"]) for event in first["data"]] == [
        (1, "queued"),
        (2, "running"),
        (3, "log"),
        (4, "log"),
    ]
    assert first["has_more"] is True
    rest = client.get(made["urls"]["events"], params={"after": 4}).json()
    assert [event["data"]["message"] for event in rest["data"]] == ["line 2", "line 3"]
    assert rest["has_more"] is False


def test_methods_describe_what_a_job_may_ask(client: TestClient, sound: dict[str, Any]) -> None:
    (method,) = client.get("/v1/methods").json()["data"]
    assert method["type"] == sound["method"]["type"] == "lora_prune"
    assert method["title"]
    assert method["description"]
    ratio = method["schema"]["properties"]["ratio"]["anyOf"][0]
    assert (ratio["exclusiveMinimum"], ratio["exclusiveMaximum"]) == (0, 0.9)
