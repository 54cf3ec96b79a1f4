"""What the owner of a model does with it. Never commits."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import keyset, registry
from app.keyset import Page, Place
from jobs import ids, revisions, webhooks
from jobs.errors import NameTaken, NotFound, VersionInUse
from jobs.registry_tables import ModelRow, RefRow
from jobs.tables import ProjectRow

ALIAS: Final = "alias"
TAG: Final = "tag"


def page(
    session: Session,
    place: Place,
    *,
    project_id: str,
    deleted: bool = False,
    deprecated: bool | None = None,
    visibility: str | None = None,
    text: str | None = None,
) -> Page[ModelRow]:
    """The project's models, the newest first.

    Args:
        deleted: Those that were, and can still be restored, in the place of all others.
        text: Somewhere in the name or the description.
    """
    conditions: list[ColumnElement[bool]] = [
        ModelRow.project_id == project_id,
        ModelRow.deleted_at.is_not(None) if deleted else ModelRow.deleted_at.is_(None),
    ]
    if deprecated is not None:
        conditions.append(ModelRow.deprecated_at.is_not(None) if deprecated else ModelRow.deprecated_at.is_(None))
    if visibility is not None:
        conditions.append(ModelRow.visibility == visibility)
    if text:
        columns = (ModelRow.name, ModelRow.description)
        conditions.append(or_(*(column.icontains(text, autoescape=True) for column in columns)))
    return keyset.page(session, ModelRow, ModelRow.id, place, *conditions)


def get(session: Session, id: str, *, project_id: str) -> ModelRow:
    """
    Raises:
        NotFound: the project has no such model.
    """
    row = session.get(ModelRow, id)
    if row is None or row.project_id != project_id or row.deleted_at is not None:
        raise NotFound(f"There is no model {id!r}.")
    return row


def create(session: Session, name: str, *, project_id: str, **values: Any) -> ModelRow:
    """A model without revisions.

    Raises:
        NameTaken: the project has a model of that name.
    """
    row = ModelRow(id=ids.new("mdl"), project_id=project_id, name=name, **values)
    session.add(row)
    _write(session, row)
    session.refresh(row)
    return row


def change(session: Session, row: ModelRow, values: Mapping[str, Any]) -> None:
    """`deprecation` says what to use instead, or is None for a model that is not to be avoided any more."""
    for column, value in values.items():
        setattr(row, column, value)
    if "deprecation" in values:
        row.deprecated_at = None if values["deprecation"] is None else func.now()
    _touch(session, row)


def remove(session: Session, row: ModelRow, name: str) -> None:
    """Hide a model; until the grace time is over it can be restored."""
    row.deleted_at = func.now()
    _touch(session, row)
    webhooks.tell_of_model(session, row, name, "deleted", {})


def last_deleted(session: Session, of: str, name: str, *, project_id: str, grace: timedelta) -> ModelRow | None:
    """The last deleted model of this name that can still be restored: nobody else does before this transaction ends.

    Args:
        of: The namespace.
    """
    query = (
        select(ModelRow)
        .join(ProjectRow, ProjectRow.id == ModelRow.project_id)
        .where(ModelRow.project_id == project_id, ProjectRow.namespace == of, ModelRow.name == name)
        .where(ModelRow.deleted_at > func.now() - grace)
    )
    return session.scalars(
        query.order_by(ModelRow.deleted_at.desc()).limit(1).with_for_update(of=ModelRow)
    ).one_or_none()


def restore(session: Session, row: ModelRow) -> None:
    """
    Raises:
        NameTaken: another model has taken its name.
    """
    row.deleted_at = None
    _touch(session, row)


def remove_version(session: Session, row: ModelRow, revision: str) -> str:
    """Forget a version and its tags, for good; its commit.

    Raises:
        NotFound: the model has no such version.
        VersionInUse: a branch or an alias stands for it.
    """
    found = registry.revision(session, row.id, revision)
    users = [ref.name for ref in registry.refs(session, row.id, [found.commit]) if ref.kind != TAG]
    if users:
        raise VersionInUse(f"{', '.join(users)} stands for {found.commit}.", hint="Have it stand for another first.")
    session.delete(found)
    _touch(session, row)
    return found.commit


def set_alias(session: Session, row: ModelRow, name: str, alias: str, revision: str) -> RefRow:
    """Have an alias stand for a revision, whatever it stood for before.

    Raises:
        NotFound: the model has no such revision.
        NameTaken: a branch or a tag has this name.
    """
    commit = registry.resolve(session, row.id, revision)
    found = session.get(RefRow, (row.id, alias))
    if found is not None and found.kind != ALIAS:
        raise NameTaken(f"{alias!r} is a {found.kind} of the model.", hint="Choose another name for the alias.")
    if found is not None and found.commit == commit:
        return found
    revisions.point(session, row.id, alias, ALIAS, commit)
    ref = session.get_one(RefRow, (row.id, alias), populate_existing=True)
    _touch(session, row)
    webhooks.tell_of_model(session, row, name, "alias_changed", {"alias": alias, "commit": commit})
    return ref


def remove_alias(session: Session, row: ModelRow, name: str, alias: str) -> None:
    """
    Raises:
        NotFound: the model has no such alias.
    """
    ref = session.get(RefRow, (row.id, alias))
    if ref is None or ref.kind != ALIAS:
        raise NotFound(f"The model has no alias {alias!r}.")
    session.delete(ref)
    _touch(session, row)
    webhooks.tell_of_model(session, row, name, "alias_changed", {"alias": alias, "commit": None})


def _touch(session: Session, row: ModelRow) -> None:
    row.updated_at = func.now()
    _write(session, row)
    session.refresh(row)


def _write(session: Session, row: ModelRow) -> None:
    name = row.name
    try:
        session.flush()
    except IntegrityError as error:
        raise NameTaken(f"The project has a model {name!r} already.", hint="Choose another name.") from error


def namespace(session: Session, project_id: str) -> str:
    return session.get_one(ProjectRow, project_id).namespace
