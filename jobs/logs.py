"""What a process says of itself: a line per event, with the ids of what it is about.

Lines are JSON objects, or text for people (`PRUNERY_LOG_FORMAT`). No secret gets into one: those of the settings are
known, and those that are handed out can be told by their beginning.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from jobs import tracing
from jobs.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

SECRET = re.compile(r"\b(pk|whsec)_[\w+/=-]{16,}")
MASK = "***"
SHORTEST = 6
# These tell every request with its whole URL, and an URL may carry a signature.
CHATTY = ("httpx2", "httpcore2", "httpx", "httpcore", "urllib3", "botocore", "boto3", "huggingface_hub")
UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access")
STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"})

_ids: ContextVar[dict[str, Any]] = ContextVar("ids", default={})  # noqa: B039  (never changed in place)


def note(**ids: Any) -> None:
    """Name these ids in every line from here on: in this task or thread, and in those that it starts."""
    _ids.set({**_ids.get(), **ids})


@contextmanager
def about(**ids: Any) -> Iterator[None]:
    """Name these ids in every line until left."""
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """The function as a target for a new thread, which otherwise would not know the ids of the one that starts it."""
    return partial(copy_context().run, function)


def install(settings: Settings, **ids: Any) -> None:
    """Have this process log to standard error; may be called again.

    Args:
        ids: named in every line of this process.
    """
    handler = _handler()
    handler.formatter = _Json(settings) if settings.log_format == "json" else _Text(settings)
    handler.ids.update(ids)
    logging.getLogger().setLevel(settings.log_level)
    logging.captureWarnings(True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    for name in UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        # Our own line about a request knows more than the server's.
        logger.propagate = name != "uvicorn.access"


class _Handler(logging.StreamHandler[Any]):
    """Adds the ids of the moment to a record before others see it."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.ids: dict[str, Any] = {}
        self.addFilter(self._identify)

    def _identify(self, record: logging.LogRecord) -> bool:
        for name, value in {**self.ids, **_ids.get(), "trace_id": tracing.trace_id()}.items():
            if value is not None and name not in vars(record):
                setattr(record, name, value)
        return True


def _handler() -> _Handler:
    root = logging.getLogger()
    found = next((handler for handler in root.handlers if isinstance(handler, _Handler)), None)
    if found is None:
        found = _Handler()
        root.addHandler(found)
    return found


class _Text(logging.Formatter):
    """For people: the ids at the end of the line."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._mask = _mask(settings)

    def formatMessage(self, record: logging.LogRecord) -> str:
        ids = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        return super().formatMessage(record) + (f" [{ids}]" if ids else "")

    def format(self, record: logging.LogRecord) -> str:
        return self._mask(super().format(record))


class _Json(logging.Formatter):
    """For machines: one object per line, whatever is in it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._mask = _mask(settings)

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return self._mask(json.dumps(line, default=str))


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in STANDARD}


def _mask(settings: Settings) -> Callable[[str], str]:
    values = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    values += [urlsplit(value).password or "" for value in values if "://" in value]
    # A very short one cannot be told from words.
    known = sorted((value for value in values if len(value) >= SHORTEST), key=len, reverse=True)

    def mask(line: str) -> str:
        for secret in known:
            line = line.replace(secret, MASK)
        return SECRET.sub(MASK, line)

    return mask
