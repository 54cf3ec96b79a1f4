"""Secrets at rest."""

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr, ValidationError

from jobs.errors import SecretUnreadable
from jobs.sealing import Seal
from jobs.settings import Settings

SECRET = "whsec_c2VjcmV0"


def key() -> SecretStr:
    return SecretStr(Fernet.generate_key().decode())


def test_a_secret_is_stored_encrypted_and_read_again() -> None:
    seal = Seal([key()])
    assert SECRET not in seal.closed(SECRET)
    assert seal.opened(seal.closed(SECRET)) == SECRET


def test_a_new_first_key_writes_and_the_old_one_still_reads() -> None:
    old, new = key(), key()
    written = Seal([old]).closed(SECRET)
    assert Seal([new, old]).opened(written) == SECRET
    with pytest.raises(SecretUnreadable):
        Seal([old]).opened(Seal([new, old]).closed(SECRET))


def test_without_a_key_secrets_stay_as_they_are_and_encrypted_ones_are_not_guessed() -> None:
    assert Seal([]).closed(SECRET) == SECRET
    assert Seal([key()]).opened(SECRET) == SECRET  # from before there was a key
    with pytest.raises(SecretUnreadable, match="PRUNERY_ENCRYPTION_KEYS"):
        Seal([]).opened(Seal([key()]).closed(SECRET))


def test_a_key_that_is_none_is_refused_at_the_start_and_not_quoted(settings: Settings) -> None:
    with pytest.raises(ValidationError, match="32 url-safe") as caught:
        Settings(encryption_keys=(SecretStr("not-a-key"),))
    assert "not-a-key" not in str(caught.value)
