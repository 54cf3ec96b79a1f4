"""Which events webhooks tell of, and how a client asks to be told."""

import base64
import binascii
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from jobs.sources import Spec

TYPES = (
    "compression.job.queued",
    "compression.job.started",
    "compression.job.phase_changed",
    "compression.job.checkpoint_saved",
    "compression.job.paused",
    "compression.job.resumed",
    "compression.job.retrying",
    "compression.job.succeeded",
    "compression.job.failed",
    "compression.job.cancelled",
    "quota.exceeded",
    "model.published",
    "model.alias_changed",
    "model.deleted",
)
TEST = "webhook.test"  # sent on request, whatever the patterns

SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)


def wanted(type_: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns is of this type of event; `*` stands for anything."""
    return any(fnmatchcase(type_, pattern) for pattern in patterns)


def _known(pattern: str) -> str:
    if not any(fnmatchcase(type_, pattern) for type_ in TYPES):
        raise ValueError(f"matches no event; there are {', '.join(TYPES)}")
    return pattern


def _sound(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    try:
        size = len(base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True))
    except binascii.Error:
        size = 0
    if not text.startswith(SECRET_PREFIX) or size not in SECRET_BYTES:
        raise ValueError(f"must be {SECRET_PREFIX} and the base64 of 24 to 64 random bytes")
    return secret


Pattern = Annotated[str, Field(pattern=r"^[a-z_.*]+$", max_length=100), AfterValidator(_known)]
Patterns = Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=20)]
Url = Annotated[str, Field(min_length=1, max_length=2048, examples=["https://example.com/prunery"])]
Secret = Annotated[
    SecretStr,
    AfterValidator(_sound),
    Field(description="`whsec_` and the base64 of 24 to 64 random bytes, with which messages are signed."),
]


class WebhookSpec(Spec):
    """An address that is told of this job alone. It becomes a webhook endpoint, and no part of the stored request."""

    url: Url
    events: Patterns = Field(("*",), description="Types of events, with `*` for anything.")
    secret: Secret
