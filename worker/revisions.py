"""Revisions as a job makes them known: with the model they are of, and the names that lead to them. Never commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from jobs import ids, revisions, webhooks
from jobs.registry_tables import ModelRow
from jobs.revisions import MAIN, Kind, NewFile, commit_of
from jobs.tables import JobRow, Json, ProjectRow
from worker.facts import Facts


@dataclass(frozen=True)
class NewRevision:
    """Files that lie in object storage, and what is known of them."""

    branch: str
    """That it is to be the newest of."""
    files: tuple[NewFile, ...]
    facts: Facts

    @property
    def commit(self) -> str:
        return commit_of(self.files)


def record(session: Session, job: JobRow, made: Sequence[NewRevision]) -> Json:
    """Make them visible as what the job has published.

    Returns:
        What the job's result says of it: `model`, `commit`, and `variants`, the commits of other branches than main.
    """
    if not made:
        return {}
    model = _model(session, job)
    commits: dict[str, str] = {}
    for revision in made:
        commit = revisions.record(session, model.id, revision.files, **_about(job, revision.facts))
        commits[revision.branch] = commit
        for name, kind in _names(job, revision.branch):
            # What a checkpoint holds does not take the place of what whole jobs have made.
            revisions.point(session, model.id, name, kind, commit, moves=job.from_checkpoint is None)
    name = f"{session.get_one(ProjectRow, job.project_id).namespace}/{model.name}"
    result = {"commit": commits.pop(MAIN), **({"variants": commits} if commits else {})}
    webhooks.tell_of_model(session, model, name, "published", result, job_id=job.id)
    return {"model": name, **result}


def _model(session: Session, job: JobRow) -> ModelRow:
    """The model, with a lock: who publishes to it at the same moment comes before or after."""
    asked = job.spec.get("output", {}).get("visibility", "private")
    new = insert(ModelRow).values(
        id=ids.new("mdl"), project_id=job.project_id, name=revisions.repository(job), visibility=asked
    )
    found = new.on_conflict_do_update(
        index_elements=[ModelRow.project_id, ModelRow.name],
        index_where=ModelRow.deleted_at.is_(None),
        set_={"updated_at": func.now()},
    )
    return session.scalars(found.returning(ModelRow), execution_options={"populate_existing": True}).one()


def _about(job: JobRow, facts: Facts) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "title": job.name or f"{job.base_model}, made smaller",
        "base_model": job.base_model,
        "base_revision": facts.base_revision or job.spec["base_model"].get("revision"),
        "license": facts.license,
        "facts": facts.shown,
    }


def _names(job: JobRow, branch: str) -> list[tuple[str, Kind]]:
    if branch != MAIN:
        return [(branch, "branch"), (f"{job.id}-{branch}", "tag")]
    step = (job.from_checkpoint or job.progress or {}).get("step")
    names: list[tuple[str, Kind]] = [(MAIN, "branch"), (job.id, "tag")]
    return [*names, (f"step-{step}", "tag")] if step else names
