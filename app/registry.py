"""How models and their revisions are found. Never commits.

What is another project's, and not public, is not there.
"""

import re
from collections.abc import Collection

from sqlalchemy import ColumnElement, or_, select, tuple_
from sqlalchemy.orm import Session

from jobs.errors import InvalidCursor, NotFound, RepositoryNotFound, RevisionNotFound
from jobs.registry_tables import ModelRow, RefRow, RevisionFileRow, RevisionRow
from jobs.tables import ProjectRow

SHORTEST_COMMIT = 7
COMMIT = re.compile(rf"[0-9a-f]{{{SHORTEST_COMMIT},40}}")


def readable(project_id: str | None) -> ColumnElement[bool]:
    """Which models somebody may read: their project's and public ones, or nobody in particular only the latter."""
    return or_(ModelRow.project_id == project_id, ModelRow.visibility == "public")


def model(session: Session, namespace: str, name: str, *, project_id: str | None) -> ModelRow:
    """
    Args:
        project_id: Who asks; nobody in particular if None.
    Raises:
        RepositoryNotFound: there is no such model that they may read.
    """
    query = (
        select(ModelRow)
        .join(ProjectRow, ProjectRow.id == ModelRow.project_id)
        .where(ProjectRow.namespace == namespace, ModelRow.name == name, ModelRow.deleted_at.is_(None))
        .where(readable(project_id))
    )
    row = session.scalars(query).one_or_none()
    if row is None:
        raise RepositoryNotFound(f"There is no model {namespace}/{name}.")
    return row


def owned(session: Session, namespace: str, name: str, *, project_id: str) -> ModelRow:
    """A model that is to be changed: others who want to wait for the end of this transaction.

    Raises:
        NotFound: the project has no such model.
    """
    row = model(session, namespace, name, project_id=project_id)
    locked = select(ModelRow).where(ModelRow.id == row.id, ModelRow.deleted_at.is_(None)).with_for_update()
    found = session.scalars(locked, execution_options={"populate_existing": True}).one_or_none()
    if found is None or found.project_id != project_id:
        raise NotFound(f"The project has no model {namespace}/{name}.")
    return found


def resolve(session: Session, model_id: str, revision: str) -> str:
    """The commit that a branch, a tag, an alias, or a commit in full or by its first digits, stands for.

    Raises:
        RevisionNotFound: none, or more than one.
    """
    named = session.scalar(select(RefRow.commit).where(RefRow.model_id == model_id, RefRow.name == revision))
    if named is not None:
        return named
    if COMMIT.fullmatch(revision):
        of_model = RevisionRow.model_id == model_id
        query = select(RevisionRow.commit).where(of_model, RevisionRow.commit.startswith(revision))
        found = session.scalars(query.limit(2)).all()
        if len(found) == 1:
            return found[0]
    hint = "Name a branch, a tag, an alias or a commit."
    raise RevisionNotFound(f"The model has no revision {revision!r}.", hint=hint)


def revision(session: Session, model_id: str, name: str) -> RevisionRow:
    """
    Raises:
        RevisionNotFound: see `resolve`.
    """
    pointed = (RefRow.model_id == RevisionRow.model_id) & (RefRow.commit == RevisionRow.commit)
    named = select(RevisionRow).join(RefRow, pointed).where(RefRow.model_id == model_id, RefRow.name == name)
    row = session.scalars(named).one_or_none()  # one question to the database, for what is asked most
    return row or session.get_one(RevisionRow, (model_id, resolve(session, model_id, name)))


def revisions(session: Session, model_id: str, *, limit: int, after: str | None = None) -> list[RevisionRow]:
    """The newest first; `after` is the commit to begin after.

    Raises:
        InvalidCursor: the model has no such revision.
    """
    key = tuple_(RevisionRow.created_at, RevisionRow.commit)
    query = select(RevisionRow).where(RevisionRow.model_id == model_id)
    if after is not None:
        place = session.get(RevisionRow, (model_id, after))
        if place is None:
            raise InvalidCursor(f"There is no {after!r} to list after.", hint="Pass the last_id of a page.")
        query = query.where(key < tuple_(place.created_at, place.commit))
    return list(session.scalars(query.order_by(RevisionRow.created_at.desc(), RevisionRow.commit.desc()).limit(limit)))


def files(session: Session, revision: RevisionRow) -> list[RevisionFileRow]:
    """The files of a revision, by path."""
    of_revision = (RevisionFileRow.model_id == revision.model_id, RevisionFileRow.commit == revision.commit)
    return list(session.scalars(select(RevisionFileRow).where(*of_revision).order_by(RevisionFileRow.path)))


def refs(session: Session, model_id: str, commits: Collection[str] | None = None) -> list[RefRow]:
    """The names of a model's revisions, or of some of them, by name."""
    query = select(RefRow).where(RefRow.model_id == model_id)
    if commits is not None:
        query = query.where(RefRow.commit.in_(commits))
    return list(session.scalars(query.order_by(RefRow.name)))
