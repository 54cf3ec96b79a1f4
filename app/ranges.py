"""Range and conditional requests (RFC 9110, sections 13 and 14) for content with one strong ETag."""

import re
from dataclasses import dataclass

from jobs import errors

ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Span:
    """Bytes from `start` up to, not including, `end`."""

    start: int
    end: int


def requested(header: str | None, size: int) -> Span | None:
    """The part that a Range header asks for; None for the whole, as for what is no single range of bytes.

    Raises:
        RangeNotSatisfiable: it begins beyond the end.
    """
    found = ONE_RANGE.fullmatch((header or "").replace(" ", ""))
    if not found or found[1] == found[2] == "":
        return None
    first, last = found[1], found[2]
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise errors.RangeNotSatisfiable(f"There are {size} bytes, and {header} lies beyond them.", size=size)
    return Span(start, end)


def is_unchanged(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this content already."""
    if if_none_match is None:
        return False
    known = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return "*" in known or etag in known


def is_current(if_match: str, etag: str) -> bool:
    """Whether what the client has is still this content; weak tags prove nothing."""
    known = [each.strip() for each in if_match.split(",")]
    return "*" in known or etag in known


def may_continue(if_range: str | None, etag: str) -> bool:
    """Whether what the client has the beginning of is still this content; dates and weak tags prove nothing."""
    return if_range is None or if_range.strip() == etag
