"""Lists of jobs: their order, their pages, their filters, and what they cost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app import listing, store
from app.listing import Cursor, Filters, Order
from jobs.errors import InvalidCursor
from jobs.specs import JobSpec
from jobs.states import Status
from jobs.tables import DEFAULT_PROJECT

JOBS = "/v1/compression/jobs"
MANY = 20_000
Sessions = sessionmaker[Session]


def create(session: Session, spec: JobSpec, **changes: Any) -> str:
    changed = JobSpec.model_validate(spec.model_dump() | changes)
    return store.create(session, changed, project_id=DEFAULT_PROJECT, max_attempts=3).id


@pytest.fixture
def made(sessions: Sessions, spec: JobSpec) -> list[str]:
    """Seven jobs, the oldest first; two of the very same time."""
    found = []
    for number in range(5):
        with sessions.begin() as session:
            found.append(create(session, spec, name=f"number {number}", metadata={"team": "nlp", "n": str(number)}))
    with sessions.begin() as session:
        model = {"source": "local", "path": "/models/Large_100%"}
        found += sorted(create(session, spec, name=None, base_model=model, metadata={"team": "cv"}) for _ in range(2))
    return found


def ids(client: TestClient, **params: Any) -> list[str]:
    answer = client.get(JOBS, params=params)
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["data"]]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_hold_every_job_once_forth_and_back(sessions: Sessions, made: list[str], order: Order) -> None:
    expected = made if order == "asc" else made[::-1]
    filters, pages = Filters(DEFAULT_PROJECT), []
    with sessions() as session:
        page = listing.page(session, filters, limit=3, order=order)
        pages.append([job.id for job in page.items])
        while page.has_more:
            page = listing.page(session, filters, limit=3, cursor=Cursor(pages[-1][-1], "after"), order=order)
            pages.append([job.id for job in page.items])
        assert pages == [expected[:3], expected[3:6], expected[6:]]
        back = listing.page(session, filters, limit=3, cursor=Cursor(pages[2][0], "before"), order=order)
        assert ([job.id for job in back.items], back.has_more) == (pages[1], True)
        first = listing.page(session, filters, limit=3, cursor=Cursor(pages[1][0], "before"), order=order)
        assert ([job.id for job in first.items], first.has_more) == (pages[0], False)


def test_links_lead_through_the_whole_list_in_both_directions(client: TestClient, made: list[str]) -> None:
    url = f"{JOBS}?{urlencode({'limit': 2, 'metadata[team]': 'nlp', 'order': 'asc'})}"
    pages = [client.get(url)]
    while "next" in pages[-1].links:
        pages.append(client.get(pages[-1].links["next"]["url"]))
    found = [[job["id"] for job in page.json()["data"]] for page in pages]
    assert found == [made[:2], made[2:4], made[4:5]]
    assert ["prev" in page.links for page in pages] == [False, True, True]
    back = client.get(pages[2].links["prev"]["url"])
    assert [job["id"] for job in back.json()["data"]] == found[1]
    assert client.get(back.links["prev"]["url"]).json()["data"] == pages[0].json()["data"]
    assert client.get(back.links["next"]["url"]).json()["data"] == pages[2].json()["data"]


def test_each_filter_keeps_what_fits_it(client: TestClient, made: list[str]) -> None:
    client.post(f"{JOBS}/{made[0]}/cancel")
    newest = made[::-1]
    times = {job["id"]: job["created_at"] for job in client.get(JOBS).json()["data"]}
    assert ids(client) == newest
    assert ids(client, status="canceled") == ids(client, status="cancelled") == made[:1]
    assert ids(client, status=["cancelled", "queued"]) == newest
    assert ids(client, status=["running", "failed"]) == []
    assert ids(client, base_model="/models/Large_100%") == newest[:2]
    assert ids(client, name="number 3") == [made[3]]
    assert ids(client, q="NUMBER") == newest[2:]
    assert ids(client, q="100%") == newest[:2]
    assert ids(client, q="e_1") == newest[:2]
    assert ids(client, q="r_3") == []  # not a wild card
    assert ids(client, created_after=times[made[3]]) == newest[:3]
    assert ids(client, created_before=times[made[1]], order="asc") == made[:1]
    assert ids(client, **{"metadata[team]": "nlp", "metadata[n]": "2"}) == [made[2]]
    assert ids(client, **{"metadata[team]": "cv", "metadata[n]": "2"}) == []
    assert "total" not in client.get(JOBS).json() or client.get(JOBS).json()["total"] is None
    assert client.get(JOBS, params={"include": "total", "limit": 1, "q": "number"}).json()["total"] == 5


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("staus=running", "/staus"),
        ("status=lost", "/status/0"),
        ("limit=0", "/limit"),
        ("created_after=2026-01-01T00:00:00", "/created_after"),
        ("order=up", "/order"),
        ("include=all", "/include/0"),
        ("metadata=nlp", "/metadata"),
        (f"metadata[{'k' * 65}]=a", f"/metadata/{'k' * 65}"),
    ],
)
def test_a_parameter_that_is_none_is_refused_by_its_name(client: TestClient, query: str, pointer: str) -> None:
    refused = client.get(f"{JOBS}?{query}")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter")
    assert refused.json()["errors"][0]["pointer"].removesuffix("/[key]") == pointer


def test_a_cursor_is_a_job_and_there_is_one(client: TestClient, made: list[str], sessions: Sessions) -> None:
    assert client.get(JOBS, params={"after": "cjob_0"}).json()["code"] == "invalid_cursor"
    assert client.get(JOBS, params={"before": "cjob_0"}).json()["code"] == "invalid_cursor"
    assert client.get(JOBS, params={"after": made[0], "before": made[1]}).status_code == 422
    with pytest.raises(InvalidCursor), sessions() as session:
        listing.page(session, Filters("proj_other"), limit=1, cursor=Cursor(made[0], "after"))


FILLED = """
INSERT INTO jobs (id, project_id, name, base_model, metadata, spec, status, max_attempts, created_at)
SELECT 'cjob_' || lpad(n::text, 8, '0'), 'proj_default', 'run ' || n, 'model-' || n % 500,
    jsonb_build_object('team', 't' || n % 300), '{}',
    CASE WHEN n % 1000 = 7 THEN 'queued' WHEN n % 100 = 8 THEN 'failed' ELSE 'succeeded' END, 3,
    now() - make_interval(mins => n)
FROM generate_series(1, :many) AS n
"""


@pytest.fixture
def touched(engine: Engine, sessions: Sessions) -> Iterator[list[float]]:
    """With many jobs stored: how many rows each query on them has looked at."""
    with sessions.begin() as session:
        session.execute(text(FILLED), {"many": MANY})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE jobs"))
    counts: list[float] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if statement.startswith("SELECT jobs") and "ORDER BY" in statement:
            found = cursor.connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).fetchone()
            counts.append(rows(found[0][0]["Plan"]))

    event.listen(engine, "before_cursor_execute", explain)
    yield counts
    event.remove(engine, "before_cursor_execute", explain)


def rows(node: dict[str, Any]) -> float:
    """What a plan has read, kept or not."""
    removed = sum(value for key, value in node.items() if key.startswith("Rows Removed by"))
    own = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return max([own, *(rows(child) for child in node.get("Plans", []))])


def test_no_page_costs_more_than_what_it_shows_and_skips_little(touched: list[float], sessions: Sessions) -> None:
    soon = datetime.now(UTC) - timedelta(days=5)
    middle = Cursor(f"cjob_{MANY // 2:08}", "after")
    cases: dict[str, dict[str, Any]] = {
        "all": {},
        "rare status": {"statuses": [Status.QUEUED]},
        "common status": {"statuses": [Status.SUCCEEDED]},
        "two rare statuses": {"statuses": [Status.QUEUED, Status.FAILED]},
        "metadata": {"metadata": {"team": "t77"}},
        "base model": {"base_model": "model-123"},
        "name": {"name": "run 12345"},
        "text": {"text": "un 12345"},
        "nothing": {"text": "no such text"},
        "time": {"created_before": soon},
    }
    for name, filters in cases.items():
        for cursor in (None, middle):
            with sessions() as session:
                listing.page(session, Filters(DEFAULT_PROJECT, **filters), limit=20, cursor=cursor)
            assert touched.pop() <= MANY / 10, (name, cursor)


def test_a_total_is_counted_while_it_is_small_and_estimated_beyond(touched: list[float], sessions: Sessions) -> None:
    with sessions() as session:
        assert listing.total(session, Filters(DEFAULT_PROJECT, statuses=[Status.QUEUED])) == MANY // 1000
        assert listing.total(session, Filters(DEFAULT_PROJECT)) == pytest.approx(MANY, rel=0.2)
