"""Lists of jobs: which ones, in what order, from where on. Never commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Executable, Select, func, or_, select, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ClauseElement

from jobs.errors import InvalidCursor
from jobs.states import Status
from jobs.tables import JobRow

COUNTED = 10_000

Order = Literal["asc", "desc"]


@dataclass(frozen=True)
class Filters:
    """What all jobs of a list have in common."""

    project_id: str
    statuses: Sequence[Status] = ()
    base_model: str | None = None
    name: str | None = None
    text: str | None = None  # somewhere in the name or the base model
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def conditions(self) -> list[ColumnElement[bool]]:
        row = JobRow
        found = [row.project_id == self.project_id]
        if self.statuses:
            found.append(row.status.in_(self.statuses))
        if self.base_model is not None:
            found.append(row.base_model == self.base_model)
        if self.name is not None:
            found.append(row.name == self.name)
        if self.text:
            found.append(or_(*(column.icontains(self.text, autoescape=True) for column in (row.name, row.base_model))))
        if self.created_after is not None:
            found.append(row.created_at > self.created_after)
        if self.created_before is not None:
            found.append(row.created_at < self.created_before)
        if self.metadata:
            found.append(row.metadata_.contains(dict(self.metadata)))
        return found


@dataclass(frozen=True)
class Cursor:
    """Where a page begins: after the job `id` of the list, or before it."""

    id: str
    direction: Literal["after", "before"]


@dataclass(frozen=True)
class Page:
    """A part of a list, in the list's order; `has_more` says whether the list goes on in the direction asked for."""

    items: list[JobRow]
    has_more: bool


def page(
    session: Session, filters: Filters, *, limit: int, cursor: Cursor | None = None, order: Order = "desc"
) -> Page:
    """Jobs by the time of their creation.

    Raises:
        InvalidCursor: the cursor is not a job of the project.
    """
    query, columns = select(JobRow).where(*filters.conditions()), (JobRow.created_at, JobRow.id)
    backwards = cursor is not None and cursor.direction == "before"
    descending = (order == "desc") != backwards
    if cursor is not None:
        place = tuple(_place(session, filters.project_id, cursor.id))
        key = tuple_(*columns)
        query = query.where(key < place if descending else key > place)
    query = query.order_by(*(column.desc() if descending else column for column in columns))
    rows = list(session.scalars(query.limit(limit + 1)))
    items = rows[:limit]
    return Page(items[::-1] if backwards else items, has_more=len(rows) > limit)


def total(session: Session, filters: Filters) -> int:
    """How many jobs the list has: counted if they are few, else about so many, by the planner's statistics."""
    query = select(JobRow.id).where(*filters.conditions())
    counted = session.scalar(select(func.count()).select_from(query.limit(COUNTED).subquery())) or 0
    if counted < COUNTED:
        return counted
    (plan,) = session.scalars(_Explain(query)).one()
    return max(counted, int(plan["Plan"]["Plan Rows"]))


def _place(session: Session, project_id: str, job_id: str) -> Sequence[Any]:
    query = select(JobRow.created_at, JobRow.id).where(JobRow.id == job_id, JobRow.project_id == project_id)
    place = session.execute(query).one_or_none()
    if place is None:
        raise InvalidCursor(
            f"There is no job {job_id!r} to list from.", hint="Pass the first_id or the last_id of a page."
        )
    return place


class _Explain(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, query: Select[Any]) -> None:
        self.query = query


@compiles(_Explain, "postgresql")
def _explain(element: _Explain, compiler: Any, **options: Any) -> str:
    return "EXPLAIN (FORMAT JSON) " + str(compiler.process(element.query, **options))
