"""Jobs as clients see them, on a real database."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from app import store
from jobs import ids
from jobs.errors import NotFound
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT, JobRow, Table
from worker import outbox

Sessions = sessionmaker[Session]


def create(sessions: Sessions, spec: JobSpec) -> JobRow:
    with sessions.begin() as session:
        return store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=3)


def event_types(sessions: Sessions, job_id: str) -> list[str]:
    with sessions.begin() as session:
        rows = store.events(session, job_id, project_id=DEFAULT_PROJECT, after=0, limit=1000)
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    return [row.type for row in rows]


def test_ids_sort_by_time_and_never_repeat() -> None:
    made = [ids.new("cjob") for _ in range(1000)]
    assert len(set(made)) == 1000
    assert [id[:17] for id in made] == sorted(id[:17] for id in made)
    assert all(len(id) == 37 and id[17] == "7" for id in made)


def test_the_migrations_make_the_tables_of_the_code(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_a_job_comes_with_its_event_and_its_doorbell_or_not_at_all(sessions: Sessions, spec: JobSpec) -> None:
    row = create(sessions, spec)
    assert (row.status, row.version, row.attempt, row.max_attempts) == ("queued", 1, 0, 3)
    assert row.created_at == row.queued_at
    assert row.created_at.tzinfo is not None
    assert JobSpec.model_validate(row.spec) == spec
    assert event_types(sessions, row.id) == ["queued"]

    with sessions() as session:
        store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=3)
        session.rollback()
    with sessions.begin() as session:
        assert [bell.job_id for bell in outbox.unsent(session, 10)] == [row.id]
        assert list(session.scalars(select(JobRow.id))) == [row.id]


def test_a_status_that_is_none_is_refused_by_the_database(sessions: Sessions, spec: JobSpec) -> None:
    row = create(sessions, spec)
    for column, value in (("status", "'resting'"), ("lease_token", "gen_random_uuid()"), ("status", "'running'")):
        with pytest.raises(IntegrityError, match="check"), sessions.begin() as session:
            session.execute(text(f"UPDATE jobs SET {column} = {value} WHERE id = :id"), {"id": row.id})


def test_what_is_not_there_is_not_found(sessions: Sessions, spec: JobSpec) -> None:
    row = create(sessions, spec)
    with sessions.begin() as session:
        for lookup in (store.get, store.artifacts, store.attempts, store.checkpoints, store.file):
            with pytest.raises(NotFound, match="nowhere"):
                lookup(session, "nowhere", project_id=DEFAULT_PROJECT)
        with pytest.raises(NotFound, match="nowhere"):
            store.events(session, "nowhere", project_id=DEFAULT_PROJECT, after=0, limit=1)
        with pytest.raises(NotFound, match=r"queued.*model\.safetensors"):
            store.artifact(session, row.id, "model.safetensors", project_id=DEFAULT_PROJECT)
        assert store.artifacts(session, row.id, project_id=DEFAULT_PROJECT) == []


def test_an_uploaded_file_is_known_by_its_id(sessions: Sessions) -> None:
    id = ids.new("file")
    with sessions.begin() as session:
        added = store.add_file(
            session, project_id=DEFAULT_PROJECT, id=id, name="train.jsonl", bytes=5 * 2**31, sha256="ab" * 32
        )
        assert added.created_at is not None
    with sessions.begin() as session:
        found = store.file(session, id, project_id=DEFAULT_PROJECT)
    assert (found.name, found.bytes, found.sha256) == ("train.jsonl", 5 * 2**31, "ab" * 32)
