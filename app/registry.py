"""How models and their revisions are found. Never commits.

What is another project's, and not public, is not there.
"""

import re

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from jobs.errors import NotFound
from jobs.registry_tables import ModelRow, RefRow, RevisionFileRow, RevisionRow
from jobs.tables import ProjectRow

SHORTEST_COMMIT = 7
COMMIT = re.compile(rf"[0-9a-f]{{{SHORTEST_COMMIT},40}}")


def model(session: Session, namespace: str, name: str, *, project_id: str | None) -> ModelRow:
    """
    Args:
        project_id: Who asks; nobody in particular if None.
    Raises:
        NotFound: there is no such model that they may read.
    """
    query = (
        select(ModelRow)
        .join(ProjectRow, ProjectRow.id == ModelRow.project_id)
        .where(ProjectRow.namespace == namespace, ModelRow.name == name, ModelRow.deleted_at.is_(None))
        .where(or_(ModelRow.project_id == project_id, ModelRow.visibility == "public"))
    )
    row = session.scalars(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no model {namespace}/{name}.")
    return row


def resolve(session: Session, model_id: str, revision: str) -> str:
    """The commit that a branch, a tag, an alias, or a commit in full or by its first digits, stands for.

    Raises:
        NotFound: none, or more than one.
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
    raise NotFound(f"The model has no revision {revision!r}.", hint="Name a branch, a tag, an alias or a commit.")


def revision(session: Session, model_id: str, name: str) -> RevisionRow:
    """
    Raises:
        NotFound: see `resolve`.
    """
    return session.get_one(RevisionRow, (model_id, resolve(session, model_id, name)))


def files(session: Session, revision: RevisionRow) -> list[RevisionFileRow]:
    """The files of a revision, by path."""
    of_revision = (RevisionFileRow.model_id == revision.model_id, RevisionFileRow.commit == revision.commit)
    return list(session.scalars(select(RevisionFileRow).where(*of_revision).order_by(RevisionFileRow.path)))


def refs(session: Session, model_id: str) -> list[RefRow]:
    """All names of a model's revisions, by name."""
    return list(session.scalars(select(RefRow).where(RefRow.model_id == model_id).order_by(RefRow.name)))
