"""Which service a command talks to, and with which key."""

import json
from dataclasses import dataclass
from pathlib import Path

CONNECTION_FILE = Path("prunery-data/connection.json")


class NoConnection(Exception):
    """It is not known which service is meant."""


@dataclass(frozen=True)
class Connection:
    """The address and the key of a service."""

    url: str
    api_key: str


def resolve(url: str | None, api_key: str | None, file: Path = CONNECTION_FILE) -> Connection:
    """What was given, completed by what `prunery up` wrote in this folder.

    Raises:
        NoConnection: neither says which service or which key.
    """
    if url and api_key:
        return Connection(url, api_key)
    written = _read(file)
    if written is None:
        missing = "an address" if not url else "a key"
        raise NoConnection(
            f"There is no {file} here and {missing} was not given. Start a service with `prunery up`, or name one with "
            "--url and --api-key (or PRUNERY_URL and PRUNERY_API_KEY)."
        )
    # The key belongs to that service; another one must not get to see it.
    if url and url.rstrip("/") != written.url.rstrip("/"):
        raise NoConnection(f"{file} has no key for {url}. Give one with --api-key or PRUNERY_API_KEY.")
    return Connection(url or written.url, api_key or written.api_key)


def _read(file: Path) -> Connection | None:
    try:
        fields = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise NoConnection(f"{file} is not JSON: {error}. Start `prunery up` again, or remove the file.") from error
    try:
        return Connection(fields["url"], fields["api_key"])
    except (KeyError, TypeError) as error:
        raise NoConnection(f"{file} lacks {error}. Start `prunery up` again, or remove the file.") from error
