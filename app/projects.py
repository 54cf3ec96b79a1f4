"""The tenants. Never commits."""

from typing import Any

from sqlalchemy import delete, exists, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import keyset
from app.keyset import Page, Place
from app.tables import ApiKeyRow
from jobs import ids, repository_names
from jobs.errors import NameTaken, NotFound, ProjectNotEmpty
from jobs.registry_tables import ModelRow
from jobs.tables import DEFAULT_PROJECT, FileRow, JobRow, ProjectRow


def create(session: Session, name: str, **limits: int | None) -> ProjectRow:
    """
    Raises:
        NameTaken: another project is called so.
    """
    id = ids.new("proj")
    row = ProjectRow(id=id, name=name, namespace=_namespace(session, id, name), **limits)
    session.add(row)
    _write(session, row)
    session.refresh(row)
    return row


def get(session: Session, id: str) -> ProjectRow:
    """
    Raises:
        NotFound: there is no such project.
    """
    row = session.get(ProjectRow, id)
    if row is None:
        raise NotFound(f"There is no project {id!r}.")
    return row


def page(session: Session, place: Place) -> Page[ProjectRow]:
    return keyset.page(session, ProjectRow, ProjectRow.id, place)


def change(session: Session, id: str, values: dict[str, Any]) -> ProjectRow:
    """
    Raises:
        NotFound: there is no such project.
        NameTaken: another project is called so.
    """
    row = get(session, id)
    for column, value in values.items():
        setattr(row, column, value)
    _write(session, row)
    return row


def remove(session: Session, id: str) -> None:
    """Remove a project and its keys.

    Raises:
        NotFound: there is no such project.
        ProjectNotEmpty: there are jobs, files or models of it, or it is the default one.
    """
    # Whoever adds a job or a file waits for this lock.
    row = session.get(ProjectRow, id, with_for_update=True)
    if row is None:
        raise NotFound(f"There is no project {id!r}.")
    owned = (JobRow, FileRow, ModelRow)
    used = select(or_(*(exists().where(table.project_id == id) for table in owned)))
    if id == DEFAULT_PROJECT or session.scalars(used).one():
        raise ProjectNotEmpty(f"Project {row.name!r} has jobs, files or models, or is the default one.")
    session.execute(delete(ApiKeyRow).where(ApiKeyRow.project_id == id))
    session.delete(row)


def _namespace(session: Session, id: str, name: str) -> str:
    """After the name, if that has letters and no other project came to the same before."""
    slug = repository_names.slug(name)
    taken = session.scalars(select(exists().where(ProjectRow.namespace == slug))).one()
    return repository_names.slug(id) if taken or not slug else slug


def _write(session: Session, row: ProjectRow) -> None:
    name = row.name
    try:
        session.flush()
    except IntegrityError as error:
        raise NameTaken(f"There is a project {name!r} already.", hint="Choose another name.") from error
