"""A job that has succeeded without an engine: its rows and its files are what a worker would have left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app import store
from jobs import database
from jobs.files import Files
from jobs.revisions import MAIN
from jobs.settings import Settings
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT
from worker import holds, leases
from worker.publish import publish

SPEC = {
    "base_model": {"source": "hub", "id": "someone/something"},
    "dataset": {"source": "file", "id": "file_1"},
    "method": {"type": "lora_prune", "ratio": 0.3},
}
SECONDS = 600.0


def job(settings: Settings, model: Path, variants: Mapping[str, Path] | None = None, **spec: Any) -> str:
    """The id of a job that has published every file in `model`, and in those of other branches; `spec` adds to SPEC."""
    engine = database.engine(settings)
    sessions = database.sessions(engine)
    with sessions.begin() as session:
        # In one transaction, so that no worker sees it before it is taken.
        row = store.create(session, JobSpec.model_validate(SPEC | spec), project_id=DEFAULT_PROJECT, max_attempts=1)
        claim = leases.claim(session, row.id, "bench", SECONDS)
    assert claim is not None

    def hold(sha256s: Sequence[str]) -> None:
        with sessions.begin() as session:
            holds.hold(session, claim.job_id, sha256s)

    folders = {MAIN: model, **(variants or {})}
    revisions = publish(Files(settings), folders, claim, hold=hold, check=lambda: None, patience_seconds=SECONDS)
    with sessions.begin() as session:
        leases.succeed(session, claim, {}, revisions)
    engine.dispose()
    return claim.job_id
