"""Secrets that have to be read again, and so cannot be hashed: encrypted where the deployment has a key for it."""

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from jobs.errors import SecretUnreadable

MARK = "fernet:"


class Seal:
    """Encrypts with the first key and reads with any of them; without a key, secrets stay as they are."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self._keys = MultiFernet([Fernet(key.get_secret_value()) for key in keys]) if keys else None

    def closed(self, secret: str) -> str:
        """What to store."""
        return secret if self._keys is None else MARK + self._keys.encrypt(secret.encode()).decode()

    def opened(self, stored: str) -> str:
        """
        Raises:
            SecretUnreadable: it was encrypted with a key that this process was not given.
        """
        if not stored.startswith(MARK):
            return stored
        try:
            if self._keys is not None:
                return self._keys.decrypt(stored.removeprefix(MARK)).decode()
        except InvalidToken:
            pass
        raise SecretUnreadable(
            "A stored secret was encrypted with a key that is not there.",
            hint="PRUNERY_ENCRYPTION_KEYS must hold every key that was ever first in it.",
        )
