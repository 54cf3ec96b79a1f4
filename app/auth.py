"""Who may come in: whoever has the key. Checked before a byte of the body is read."""

import hashlib
import hmac

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from app import problems
from jobs import errors

OPEN_PATHS = frozenset({"/healthz", "/readyz"})


class KeyCheck:
    """Answers 401 to every request without the bearer token, but for the health checks."""

    def __init__(self, app: ASGIApp, key: SecretStr) -> None:
        if not key.get_secret_value():
            raise ValueError("PRUNERY_API_KEY is empty; set a secret of your own")
        self.app = app
        self._digest = _digest(key.get_secret_value().encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._knows(scope):
            await self.app(scope, receive, send)
            return
        refusal = errors.Unauthorized(
            "The request carries no valid API key.", hint="Send the header Authorization: Bearer KEY."
        )
        await problems.answer(scope, refusal)(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        # Digests are of one length, so that the comparison takes as long for every wrong key.
        return scheme.lower() == b"bearer" and hmac.compare_digest(_digest(token.strip()), self._digest)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
