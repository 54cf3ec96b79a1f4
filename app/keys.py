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

from app import keyset
from app.callers import Caller, Scope
from app.keyset import Page, Place
from app.tables import ApiKeyRow
from jobs import ids
from jobs.errors import KeyNotValid, NotFound, Unauthorized

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


def get(session: Session, id: str, *, project_id: str) -> ApiKeyRow:
    """
    Raises:
        NotFound: the project has no such key.
    """
    row = session.get(ApiKeyRow, id)
    if row is None or row.project_id != project_id:
        raise NotFound(f"There is no API key {id!r}.")
    return row


def page(session: Session, place: Place, *, project_id: str) -> Page[ApiKeyRow]:
    """All keys of the project, also those that open nothing any more."""
    return keyset.page(session, ApiKeyRow, ApiKeyRow.id, place, ApiKeyRow.project_id == project_id)


def revoke(session: Session, id: str, *, project_id: str) -> ApiKeyRow:
    """Let a key open nothing any more; again changes nothing.

    Raises:
        NotFound: the project has no such key.
    """
    row = get(session, id, project_id=project_id)
    if row.revoked_at is None:
        row.revoked_at = func.now()
        session.flush()
        session.refresh(row)
    return row


def rotate(session: Session, id: str, *, project_id: str, overlap: timedelta) -> NewKey:
    """A new key in the place of one that goes on for the overlap.

    Raises:
        NotFound: the project has no such key.
        KeyNotValid: the key opens nothing any more.
    """
    old = session.get(ApiKeyRow, id, with_for_update=True)
    if old is None or old.project_id != project_id:
        raise NotFound(f"There is no API key {id!r}.")
    now = session.scalars(select(func.now())).one()
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
        raise KeyNotValid(f"The API key {old.prefix}… has expired or was revoked.", hint="Create a new one.")
    made = create(
        session, project_id=project_id, name=old.name, scopes=[*map(Scope, old.scopes)], expires_at=old.expires_at
    )
    old.expires_at = min(old.expires_at or now + overlap, now + overlap)
    session.flush()
    return made


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
