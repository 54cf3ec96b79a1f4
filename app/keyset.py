"""Lists in pages, the newest first: the last id of one page is where the next begins."""

from dataclasses import dataclass
from typing import Annotated, Generic, Literal, Self, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Response
from pydantic import BaseModel
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from jobs.errors import InvalidCursor

MOST = 100

Row = TypeVar("Row")
Item = TypeVar("Item", bound=BaseModel)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """A part of a list."""

    items: list[Row]
    has_more: bool


@dataclass(frozen=True)
class Place:
    """Which page is asked for."""

    limit: int
    after: str | None

    def link(self, response: Response, path: str, last_id: str, **filters: str | None) -> None:
        """Name the next page in the Link header."""
        given = {name: value for name, value in filters.items() if value is not None}
        query = urlencode({"limit": self.limit, "after": last_id, **given})
        response.headers["Link"] = f'<{path}?{query}>; rel="next"'


class ListPage(BaseModel, Generic[Item]):
    """A page as a client reads it."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def holding(cls, data: list[Item], *, has_more: bool, id: str = "id") -> Self:
        """
        Args:
            id: The field that members are known by.
        """
        first, last = (getattr(data[0], id), getattr(data[-1], id)) if data else (None, None)
        return cls(data=data, first_id=first, last_id=last, has_more=has_more)


def _place(
    limit: Annotated[int, Query(ge=1, description=f"At most {MOST}; more counts as {MOST}.")] = 20,
    after: Annotated[str | None, Query(description="The last id of the page before.")] = None,
) -> Place:
    return Place(min(limit, MOST), after)


PlaceDep = Annotated[Place, Depends(_place)]


def page(
    session: Session, table: type[Row], id: InstrumentedAttribute[str], place: Place, *conditions: ColumnElement[bool]
) -> Page[Row]:
    """Rows by their ids, which sort by the time of their making.

    Raises:
        InvalidCursor: the place is after a row that does not meet the conditions, or is none.
    """
    query = select(table).where(*conditions)
    if place.after is not None:
        if session.scalars(query.where(id == place.after)).one_or_none() is None:
            raise InvalidCursor(f"There is no {place.after!r} to list after.", hint="Pass the last_id of a page.")
        query = query.where(id < place.after)
    rows = list(session.scalars(query.order_by(id.desc()).limit(place.limit + 1)))
    return Page(rows[: place.limit], has_more=len(rows) > place.limit)
