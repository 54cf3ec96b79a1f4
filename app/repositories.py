"""Models as repositories, by the names that clients know them by, as far as a caller may see them. Never commits.

What a caller may not see is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from app import registry
from app.callers import Caller, Scope
from jobs.errors import EntryNotFound, InvalidCursor
from jobs.registry_tables import ModelRow, RefRow, RevisionFileRow, RevisionRow
from jobs.revisions import MAIN
from jobs.tables import ProjectRow

Column = InstrumentedAttribute[datetime] | InstrumentedAttribute[int]


@dataclass(frozen=True)
class Repository:
    """A model and its full name."""

    namespace: str
    model: ModelRow

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.model.name}"


@dataclass(frozen=True)
class Listed:
    """One of many repositories, at its main revision."""

    repository: Repository
    revision: RevisionRow


def find(session: Session, namespace: str, name: str, caller: Caller) -> Repository:
    """
    Raises:
        RepositoryNotFound: there is none that this key may read.
    """
    return Repository(namespace, registry.model(session, namespace, name, project_id=_reader(caller)))


def revision(session: Session, repository: Repository, name: str) -> RevisionRow:
    """
    Raises:
        RevisionNotFound: neither a branch, a tag, an alias nor a commit.
    """
    return registry.revision(session, repository.model.id, name)


def file(session: Session, revision: RevisionRow, path: str) -> RevisionFileRow:
    """
    Raises:
        EntryNotFound
    """
    row = session.get(RevisionFileRow, (revision.model_id, revision.commit, path))
    if row is None:
        raise EntryNotFound(f"There is no {path!r} in this revision.", commit=revision.commit)
    return row


def page(
    session: Session,
    caller: Caller,
    *,
    order: Column,
    limit: int,
    author: str | None = None,
    search: str | None = None,
    after: str | None = None,
) -> Sequence[Listed]:
    """The repositories that the caller may see, the greatest by `order` first; those after an id, if it is given.

    Raises:
        InvalidCursor: the caller sees no model of that id.
    """
    readable = registry.readable(_reader(caller))
    conditions = [ModelRow.deleted_at.is_(None), readable]
    if author:
        conditions.append(ProjectRow.namespace == author)
    if search:
        conditions.append((ProjectRow.namespace + "/" + ModelRow.name).icontains(search, autoescape=True))
    if after is not None:
        begun: Any = session.scalars(
            select(order).select_from(ModelRow).where(ModelRow.id == after, readable)
        ).one_or_none()
        if begun is None:
            raise InvalidCursor(f"There is no {after!r} to list after.", hint="Follow the Link header of a page.")
        conditions.append(tuple_(order, ModelRow.id) < tuple_(begun, after))
    query = (
        select(ModelRow, ProjectRow.namespace, RevisionRow)
        .join(ProjectRow, ProjectRow.id == ModelRow.project_id)
        .join(RefRow, (RefRow.model_id == ModelRow.id) & (RefRow.name == MAIN))
        .join(RevisionRow, (RevisionRow.model_id == ModelRow.id) & (RevisionRow.commit == RefRow.commit))
        .where(*conditions)
    )
    rows = session.execute(query.order_by(order.desc(), ModelRow.id.desc()).limit(limit))
    return [Listed(Repository(namespace, model), main) for model, namespace, main in rows]


def _reader(caller: Caller) -> str | None:
    """The project whose models the caller may read beside public ones."""
    return caller.project_id if caller.may(Scope.MODELS_READ) else None
