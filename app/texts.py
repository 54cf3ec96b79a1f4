"""Training text as it streams in: checked piece by piece, with flat memory however long it is."""

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from jobs import errors, rows

ROW_SUFFIXES = (".jsonl", ".ndjson")
LONGEST_LINE = 4 * 2**20
LONGEST_NAME = 200

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def has_rows(name: str) -> bool:
    """Whether a file of this name is read line by line, as JSON objects."""
    return PurePath(name).suffix.lower() in ROW_SUFFIXES


def clean_name(name: str) -> str:
    """The file's own name, without folders and without what a terminal or a header would trip over.

    Raises:
        ValueError: nothing is left of it.
    """
    last = re.split(r"[/\\]", name)[-1]
    cleaned = CONTROL.sub("", unicodedata.normalize("NFC", last)).strip()
    while len(cleaned.encode()) > LONGEST_NAME:
        stem, suffix = PurePath(cleaned).stem, PurePath(cleaned).suffix
        cleaned = stem[:-1] + suffix if len(stem) > 1 else cleaned[:-1]
    if cleaned in {"", ".", ".."}:
        raise ValueError(f"{name!r} is no file name")
    return cleaned


def check(name: str, chunks: Iterable[bytes]) -> None:
    """Reads all of `chunks`.

    Raises:
        DatasetEmpty: there is nothing but white space.
        DatasetInvalid: not UTF-8, a NUL, or (in a JSONL file) a row of no known shape, with its number.
    """
    text = _utf8(chunks)
    found = sum(1 for _ in rows.read_jsonl(_lines(text))) if has_rows(name) else _written(text)
    if not found:
        raise errors.DatasetEmpty(f"There is no text in {name}.")


def _written(chunks: Iterable[bytes]) -> int:
    return sum(not chunk.isspace() for chunk in chunks)


def _utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = 0
    for chunk in chunks:
        pending = len(decoder.getstate()[0])
        _decode(decoder, chunk, position - pending, final=False)
        if (nul := chunk.find(0)) >= 0:
            raise errors.DatasetInvalid(f"Byte {position + nul} is a NUL; this is no text.", hint="Upload plain text.")
        position += len(chunk)
        yield chunk
    _decode(decoder, b"", position - len(decoder.getstate()[0]), final=True)


def _decode(decoder: codecs.IncrementalDecoder, chunk: bytes, start: int, *, final: bool) -> None:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError as error:
        raise errors.DatasetInvalid(
            f"Byte {start + error.start} is not UTF-8 ({error.reason}).", hint="Save the text as UTF-8."
        ) from error


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    number = 1
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _line(line, number)
            number += 1
        _line(rest, number, whole=False)
    if rest:
        yield _line(rest, number)


def _line(line: bytes, number: int, *, whole: bool = True) -> str:
    if len(line) > LONGEST_LINE:
        raise errors.DatasetInvalid(
            f"Line {number} is longer than {LONGEST_LINE} bytes.", hint="Write one row per line, and split long texts."
        )
    return line.decode() if whole else ""
