"""The passwords of a local stack: made up once, kept in the data folder for its owner alone."""

import base64
import os
import secrets
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cli.stack.failures import FolderUnusable


def _secret() -> str:
    return secrets.token_urlsafe(24)


class Credentials(BaseModel):
    """Every secret that the parts of one stack share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key: str = Field(default_factory=lambda: f"pk_{_secret()}")
    postgres_password: str = Field(default_factory=_secret)
    valkey_password: str = Field(default_factory=_secret)
    s3_access_key: str = Field(default_factory=lambda: secrets.token_hex(10).upper())
    s3_secret_key: str = Field(default_factory=_secret)
    seaweed_signing_key: str = Field(default_factory=_secret)
    encryption_key: str = Field(default_factory=lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())

    @classmethod
    def keep_in(cls, path: Path) -> Self:
        """The secrets of this file, which is written first if there is none."""
        try:
            kept = cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            kept = cls()
        except ValidationError as error:
            raise FolderUnusable(
                f"{path} does not hold the secrets of a stack ({error.error_count()} errors).",
                hint="Restore it, or move the data folder away to begin with an empty one.",
            ) from error
        if kept.model_fields_set != set(cls.model_fields):  # an older stack had fewer of them
            write_private(path, kept.model_dump_json(indent=2))
        return kept


def write_private(path: Path, text: str) -> None:
    """Put the text where only its owner can read it; readers see the old file or the whole new one."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
