"""Requests that take effect once, however often they are sent: the header Idempotency-Key.

The key is stored in the transaction of what it stands for, so that neither is ever there without the other: a refused
request, a fault of ours or a killed process leaves the key as unused as it was. A repetition is answered with the
present state of what the first one made.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeVar

from fastapi import Depends, Header, Request, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.callers import CallerDep
from jobs import errors
from jobs.tables import IdempotencyRow

LONGEST_KEY = 255


class Identified(Protocol):
    @property
    def id(self) -> str: ...


Made = TypeVar("Made", bound=Identified)


@dataclass(frozen=True)
class Once:
    """One request, which may be a repetition. Without a key it is always the first."""

    project_id: str
    key: str | None
    action: str  # method and path: a key stands for one request only
    response: Response

    def earlier(self, session: Session, asked: str | bytes) -> str | None:
        """The id of what an earlier request with this key made.

        Args:
            asked: What is asked for, in a form that is the same for every repetition.
        Raises:
            IdempotencyKeyReused: the key stands for another request.
        """
        if self.key is None:
            return None
        row = session.get(IdempotencyRow, (self.project_id, self.key))
        if row is None:
            return None
        if row.fingerprint != self._fingerprint(asked):
            raise errors.IdempotencyKeyReused(
                "This Idempotency-Key came with another request.", hint="Make up a new key for each new request."
            )
        self.response.headers["Idempotent-Replayed"] = "true"
        return row.resource_id

    def run(
        self, session: Session, asked: str | bytes, *, first: Callable[[], Made], again: Callable[[str], Made]
    ) -> Made:
        """What `first` makes in this transaction, or for a repetition `again` of what was made then.

        Raises:
            IdempotencyKeyReused: the key stands for another request.
            RequestInFlight: another request with this key has not yet ended.
        """
        if self.key is None:
            return first()
        # Held to the end of the transaction, by the database itself: it is free again if this process dies.
        lock = func.pg_try_advisory_xact_lock(func.hashtextextended(f"{self.project_id} {self.key}", 0))
        if not session.scalar(select(lock)):
            raise errors.RequestInFlight("A request with this Idempotency-Key is under way.", hint="Ask again.")
        earlier = self.earlier(session, asked)
        if earlier is not None:
            return again(earlier)
        made = first()
        fingerprint = self._fingerprint(asked)
        session.add(
            IdempotencyRow(project_id=self.project_id, key=self.key, fingerprint=fingerprint, resource_id=made.id)
        )
        return made

    def _fingerprint(self, asked: str | bytes) -> str:
        return hashlib.sha256(b"\0".join((self.action.encode(), _bytes(asked)))).hexdigest()


def _bytes(asked: str | bytes) -> bytes:
    return asked.encode() if isinstance(asked, str) else asked


async def _once(
    request: Request,
    response: Response,
    caller: CallerDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=LONGEST_KEY,
            pattern=r"^[\x20-\x7e]+$",
            description="Of the client's making. Within 24 hours a request with the same key and the same content has "
            "no further effect and is answered again, with the header Idempotent-Replayed.",
            examples=["5b2f6d0e-8a53-4d0c-9a53-0f0f1c2f9b7a"],
        ),
    ] = None,
) -> Once:
    return Once(caller.project_id, idempotency_key, f"{request.method} {request.url.path}", response)


OnceDep = Annotated[Once, Depends(_once)]
