"""Who did what, when, with which key: entries are added in the transaction of the deed, and never changed."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.callers import Caller, CallerDep
from app.tables import AuditRow
from jobs import ids


@dataclass(frozen=True)
class Audit:
    """The log, for one request."""

    caller: Caller
    request_id: str

    def record(self, session: Session, action: str, target: str, *, project_id: str | None = None, **data: Any) -> None:
        """`project_id`: whose log it goes to, if not the caller's own."""
        entry = {
            "id": ids.new("aud"),
            "project_id": project_id or self.caller.project_id,
            "key_id": self.caller.key_id,
            "key_name": self.caller.key_name,
            "action": action,
            "target": target,
            "data": data,
            "request_id": self.request_id,
        }
        # Nobody wants to see the row again: it need not become an object of the session.
        session.connection().execute(insert(AuditRow), entry)


async def _audit(request: Request, caller: CallerDep) -> Audit:
    return Audit(caller, request.state.request_id)


AuditDep = Annotated[Audit, Depends(_audit)]
