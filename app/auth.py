"""Who may come in: whoever has a key. Checked before a byte of the body is read."""

import hmac
import time

from anyio import to_thread
from pydantic import SecretStr
from sqlalchemy.orm import Session, sessionmaker
from starlette.types import ASGIApp, Receive, Scope, Send

from app import callers, hub_problems, keys, problems
from app.callers import Caller
from jobs import errors, logs
from jobs.tables import DEFAULT_PROJECT

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
REMEMBERED_SECONDS = 5.0


class KeyRing:
    """All keys: those of the environment, and those of the database, each read there once in a few seconds.

    So long may a revoked key still open the door.
    """

    def __init__(self, sessions: sessionmaker[Session], key: SecretStr, metrics_token: SecretStr | None) -> None:
        if not key.get_secret_value():
            raise ValueError("PRUNERY_API_KEY is empty; set a secret of your own")
        self._sessions = sessions
        self._bootstrap = {_digest(key): _caller("environment", callers.Scope.ADMIN)}
        if metrics_token is not None and metrics_token.get_secret_value():
            self._bootstrap[_digest(metrics_token)] = _caller("metrics", callers.Scope.METRICS_READ)
        self._remembered: dict[bytes, tuple[Caller, float]] = {}

    async def caller(self, token: bytes) -> Caller | None:
        """Whose key this is, or None if nobody's.

        Raises:
            Unauthorized: it is revoked or has expired.
        """
        digest = keys.digest(token)
        # Digests are of one length, so that the comparison takes as long for every wrong key.
        for known, caller in self._bootstrap.items():
            if hmac.compare_digest(digest, known):
                return caller
        remembered, until = self._remembered.get(digest, (None, 0.0))
        if remembered is not None and time.monotonic() < until:
            return remembered
        if keys.FORMAT.fullmatch(token) is None:
            return None
        return await to_thread.run_sync(self._look_up, token, digest)

    def _look_up(self, token: bytes, digest: bytes) -> Caller | None:
        self._remembered.pop(digest, None)
        with self._sessions.begin() as session:
            caller = keys.use(session, token)
        if caller is not None:
            self._remembered[digest] = (caller, time.monotonic() + REMEMBERED_SECONDS)
        return caller


class KeyCheck:
    """Answers 401 to every request without a valid key, and tells the others who calls.

    The health checks need none, nor does what clients of the Hub may see of public models.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self.app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        try:
            caller = await self._caller(scope)
        except errors.Unauthorized as refusal:
            await problems.answer(scope, refusal)(scope, receive, send)
        except problems.DATABASE_OUTAGES as outage:
            await problems.database_down(scope, outage)(scope, receive, send)
        else:
            logs.note(project=caller.project_id)
            scope.setdefault("state", {})["caller"] = caller
            await self.app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if not given and hub_problems.is_theirs(scope["path"]):
            host, _ = scope.get("client") or ("nowhere", 0)
            return callers.anonymous(host)
        if len(given) == 1:
            scheme, _, token = given[0].partition(b" ")
            if scheme.lower() == b"bearer" and (caller := await self._keys.caller(token.strip())):
                return caller
        raise errors.Unauthorized(
            "The request carries no valid API key.", hint="Send the header Authorization: Bearer KEY."
        )


def _digest(key: SecretStr) -> bytes:
    return keys.digest(key.get_secret_value().encode())


def _caller(name: str, scope: callers.Scope) -> Caller:
    return Caller(DEFAULT_PROJECT, None, name, frozenset({scope}))
