"""API keys: `pk_`, a prefix that finds the key, `_`, and the secret, which is shown once. Never commits."""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import ids
from app.callers import Caller, Scope
from app.tables import ApiKeyRow
from jobs.errors import Unauthorized

ALPHABET = string.ascii_letters + string.digits
PREFIX_LENGTH, SECRET_LENGTH = 12, 43  # 71 and 256 bits
FORMAT = re.compile(rb"(pk_[A-Za-z0-9]{%d})_[A-Za-z0-9]{%d}" % (PREFIX_LENGTH, SECRET_LENGTH))
USE_RESOLUTION = timedelta(minutes=1)


class NewKey(NamedTuple):
    """A key that was made just now, and its whole, which nobody can show again."""

    row: ApiKeyRow
    token: str


def digest(token: bytes) -> bytes:
    """What is kept of a key: it has 256 random bits, so that a slow hash would protect nothing more."""
    return hashlib.sha256(token).digest()


def create(
    session: Session, *, project_id: str, name: str, scopes: Collection[Scope], expires_at: datetime | None = None
) -> NewKey:
    prefix = f"pk_{_random(PREFIX_LENGTH)}"
    token = f"{prefix}_{_random(SECRET_LENGTH)}"
    row = ApiKeyRow(
        id=ids.new("key"),
        project_id=project_id,
        name=name,
        prefix=prefix,
        sha256=digest(token.encode()),
        scopes=sorted(scopes),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return NewKey(row, token)


def use(session: Session, token: bytes) -> Caller | None:
    """Whose key this is, or None if nobody's. That it was used is noted once a minute.

    Raises:
        Unauthorized: it was somebody's, and is revoked or has expired.
    """
    match = FORMAT.fullmatch(token)
    if match is None:
        return None
    dead = ApiKeyRow.expires_at <= func.now()
    found = session.execute(
        select(ApiKeyRow, func.coalesce(dead, False)).where(ApiKeyRow.prefix == match[1].decode())
    ).one_or_none()
    if found is None:
        return None
    row, expired = found
    if not hmac.compare_digest(row.sha256, digest(token)):
        return None
    if row.revoked_at is not None or expired:
        what = "was revoked" if row.revoked_at is not None else "has expired"
        hint = "Ask an administrator of the project for another."
        raise Unauthorized(f"The API key {row.prefix}… {what}.", hint=hint)
    _note_use(session, row.id)
    return Caller(row.project_id, row.id, row.name, frozenset(map(Scope, row.scopes)))


def _note_use(session: Session, id: str) -> None:
    stale = func.coalesce(ApiKeyRow.last_used_at < func.now() - USE_RESOLUTION, True)
    session.execute(update(ApiKeyRow).where(ApiKeyRow.id == id, stale).values(last_used_at=func.now()))


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
