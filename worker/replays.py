"""Requests that need no longer be recognised when they are sent again. Never commits."""

from datetime import timedelta

from sqlalchemy import delete, func
from sqlalchemy.orm import Session

from jobs.tables import IdempotencyRow

KEPT = timedelta(hours=24)


def forget(session: Session) -> None:
    """Delete the keys whose time is over."""
    session.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < func.now() - KEPT))
