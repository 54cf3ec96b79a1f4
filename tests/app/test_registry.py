"""Which revision a name stands for, and who may know of it."""

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app import registry, store
from jobs.errors import NotFound
from jobs.registry_tables import RefRow
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT
from tests import revisions
from worker import leases

MODEL = ("default", "small-and-n-code")


@pytest.fixture
def commits(sessions: sessionmaker[Session], spec: JobSpec) -> list[str]:
    """Those of a private model, the older first."""
    new = [revisions.of(revisions.file("config.json", size)) for size in (1, 2)]
    for revision in new:
        with sessions.begin() as session:
            job_id = store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=1).id
            claim = leases.claim(session, job_id, "worker", 60)
            assert claim is not None
            assert leases.succeed(session, claim, {}, [revision])
    return [revision.commit for revision in new]


def test_a_revision_is_found_by_its_names_and_by_its_commit(
    sessions: sessionmaker[Session], commits: list[str]
) -> None:
    with sessions.begin() as session:
        model = registry.model(session, *MODEL, project_id=DEFAULT_PROJECT)
        session.add(RefRow(model_id=model.id, name="champion", kind="alias", commit=commits[0]))
        session.flush()
        for name, place in (("main", 1), ("champion", 0), (commits[0], 0), (commits[1][:7], 1)):
            assert registry.resolve(session, model.id, name) == commits[place]
        for wrong in ("", "other", commits[0][:6], "0" * 40, commits[0] + "0", "%"):
            with pytest.raises(NotFound, match="no revision"):
                registry.resolve(session, model.id, wrong)
        revision = registry.revision(session, model.id, "main")
        assert [(file.path, file.bytes) for file in registry.files(session, revision)] == [("config.json", 2)]
        assert {ref.name for ref in registry.refs(session, model.id)} > {"champion", "main"}


def test_only_what_is_public_is_seen_from_outside(sessions: sessionmaker[Session], commits: list[str]) -> None:
    with sessions.begin() as session:
        for outsider in ("proj_other", None):
            with pytest.raises(NotFound, match="no model default/small-and-n-code"):
                registry.model(session, *MODEL, project_id=outsider)
        registry.model(session, *MODEL, project_id=DEFAULT_PROJECT).visibility = "public"
        session.flush()
        assert registry.model(session, *MODEL, project_id=None).visibility == "public"
