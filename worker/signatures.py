"""How a receiver knows that a message is ours: Standard Webhooks 1.0, and CloudEvents 1.0 in its binary mode."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from jobs.webhook_events import SECRET_PREFIX

SOURCE = "/v1/compression/jobs"


def headers(
    message_id: str, type_: str, body: bytes, secrets: Sequence[str], *, now: int, subject: str | None
) -> Mapping[str, str]:
    """
    Args:
        secrets: each signs; there are two while one takes the place of the other.
        now: Unix time of this attempt, in seconds; receivers refuse old ones.
        subject: the job's id.
    """
    signed = f"{message_id}.{now}.".encode() + body
    return {
        "Content-Type": "application/json",
        "User-Agent": "Prunery-Webhooks/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(f"v1,{_mac(secret, signed)}" for secret in secrets),
        "ce-specversion": "1.0",
        "ce-id": message_id,
        "ce-type": type_,
        "ce-source": SOURCE,
    } | ({} if subject is None else {"ce-subject": subject})


def _mac(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
