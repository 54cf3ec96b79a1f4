"""How a revision becomes known, whoever made it: with its files, and the names that stand for it. Never commits."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from jobs import git_names, repository_names
from jobs.registry_tables import RefRow, RevisionFileRow, RevisionRow
from jobs.tables import JobRow

MAIN = "main"
"""The branch that stands for the newest revision of a model."""

Kind = Literal["alias", "branch", "tag"]


@dataclass(frozen=True)
class NewFile:
    """A file that lies, or is about to lie, in object storage under its hash."""

    path: str
    bytes: int
    sha256: str
    git_oid: str
    """Of the content; of a large file, of the pointer that git keeps in its place."""

    @property
    def is_large(self) -> bool:
        return git_names.is_large(self.path, self.bytes)


def commit_of(files: Iterable[NewFile | RevisionFileRow]) -> str:
    """The same files at the same paths have the same commit."""
    return git_names.commit((file.path, file.bytes, file.sha256) for file in files)


def repository(job: JobRow) -> str:
    """The name of the model that a job publishes to: what was asked for, else after the job, else after its base."""
    asked: str | None = job.spec.get("output", {}).get("repository")
    after_job = repository_names.slug(job.name or "")
    base = repository_names.slug(job.base_model.rstrip("/").rpartition("/")[2]) or "model"
    return asked or after_job or repository_names.slug(f"{base[:80]}-pruned")


def record(session: Session, model_id: str, files: Sequence[NewFile], **about: Any) -> str:
    """The commit of these files, which is a revision of the model from now on, unless it was one before.

    Args:
        about: What else its row says.
    """
    key = {"model_id": model_id, "commit": commit_of(files)}
    values = {**key, **about, "bytes": sum(file.bytes for file in files)}
    new = insert(RevisionRow).values(**values).on_conflict_do_nothing().returning(RevisionRow.commit)
    if session.scalar(new) is not None:
        session.add_all(RevisionFileRow(**key, **asdict(file), is_large=file.is_large) for file in files)
    return key["commit"]


def point(session: Session, model_id: str, name: str, kind: Kind, commit: str, *, moves: bool = True) -> None:
    """Have a name stand for a revision: a tag stays where it is, others move if they may."""
    new = insert(RefRow).values(model_id=model_id, name=name, kind=kind, commit=commit)
    if kind == "tag" or not moves:
        session.execute(new.on_conflict_do_nothing())
        return
    moved = {"commit": commit, "kind": kind, "updated_at": func.now()}
    session.execute(new.on_conflict_do_update(index_elements=[RefRow.model_id, RefRow.name], set_=moved))
