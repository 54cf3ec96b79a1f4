"""Revisions as a job makes them known: with the model they are of, and the names that lead to them. Never commits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from jobs import git_names, ids, repository_names, webhooks
from jobs.registry_tables import ModelRow, RefRow, RevisionFileRow, RevisionRow
from jobs.tables import JobRow, Json, ProjectRow
from worker.contents import NewFile
from worker.facts import Facts

MAIN = "main"


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


def commit_of(files: Iterable[NewFile | RevisionFileRow]) -> str:
    """The same files at the same paths have the same commit."""
    return git_names.commit((file.path, file.bytes, file.sha256) for file in files)


def record(session: Session, job: JobRow, revisions: Sequence[NewRevision]) -> Json:
    """Make them visible as what the job has published.

    Returns:
        What the job's result says of it: `model`, `commit`, and `variants`, the commits of other branches than main.
    """
    if not revisions:
        return {}
    model = _model(session, job)
    for revision in revisions:
        _insert(session, model, job, revision)
        for name, kind in _names(job, revision.branch):
            _point(session, model.id, name, kind, revision.commit)
    commits = {revision.branch: revision.commit for revision in revisions}
    name = f"{session.get_one(ProjectRow, job.project_id).namespace}/{model.name}"
    result = {"commit": commits.pop(MAIN), **({"variants": commits} if commits else {})}
    webhooks.tell_of_model(session, model, name, "published", result, job_id=job.id)
    return {"model": name, **result}


def repository(job: JobRow) -> str:
    """The name of the model that a job publishes to: what was asked for, else after the job, else after its base."""
    asked: str | None = job.spec.get("output", {}).get("repository")
    after_job = repository_names.slug(job.name or "")
    base = repository_names.slug(job.base_model.rstrip("/").rpartition("/")[2]) or "model"
    return asked or after_job or repository_names.slug(f"{base[:80]}-pruned")


def _model(session: Session, job: JobRow) -> ModelRow:
    """The model, with a lock: who publishes to it at the same moment comes before or after."""
    asked = job.spec.get("output", {}).get("visibility", "private")
    new = insert(ModelRow).values(id=ids.new("mdl"), project_id=job.project_id, name=repository(job), visibility=asked)
    found = new.on_conflict_do_update(
        index_elements=[ModelRow.project_id, ModelRow.name],
        index_where=ModelRow.deleted_at.is_(None),
        set_={"updated_at": func.now()},
    )
    return session.scalars(found.returning(ModelRow), execution_options={"populate_existing": True}).one()


def _insert(session: Session, model: ModelRow, job: JobRow, revision: NewRevision) -> None:
    """Unless it is there: the same content may have been published before."""
    facts = revision.facts
    values: dict[str, Any] = {
        "job_id": job.id,
        "title": job.name or f"{job.base_model}, made smaller",
        "base_model": job.base_model,
        "base_revision": facts.base_revision or job.spec["base_model"].get("revision"),
        "license": facts.license,
        "bytes": sum(file.bytes for file in revision.files),
        "facts": facts.shown,
    }
    key = {"model_id": model.id, "commit": revision.commit}
    new = insert(RevisionRow).values(**key, **values).on_conflict_do_nothing().returning(RevisionRow.commit)
    if session.scalar(new) is None:
        return
    rows = [
        RevisionFileRow(
            **key,
            path=file.path,
            bytes=file.bytes,
            sha256=file.sha256,
            git_oid=file.git_oid,
            is_large=file.is_large,
        )
        for file in revision.files
    ]
    session.add_all(rows)


def _names(job: JobRow, branch: str) -> list[tuple[str, str]]:
    if branch != MAIN:
        return [(branch, "branch"), (f"{job.id}-{branch}", "tag")]
    step = (job.progress or {}).get("step")
    return [(MAIN, "branch"), (job.id, "tag"), *([(f"step-{step}", "tag")] if step else [])]


def _point(session: Session, model_id: str, name: str, kind: str, commit: str) -> None:
    new = insert(RefRow).values(model_id=model_id, name=name, kind=kind, commit=commit)
    if kind == "tag":
        session.execute(new.on_conflict_do_nothing())
        return
    moved = new.on_conflict_do_update(
        index_elements=[RefRow.model_id, RefRow.name],
        set_={"commit": commit, "kind": kind, "updated_at": func.now()},
    )
    session.execute(moved)
