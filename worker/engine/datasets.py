"""Where training and held-out text comes from: a file on this machine, or a data set on the hub."""

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TypeGuard, TypeVar

from transformers import PreTrainedTokenizerBase

from jobs import errors, rows
from jobs.rows import ChoiceRow, Row, TextRow
from jobs.sources import HubData, LocalData
from worker.engine import windows
from worker.engine.windows import Windows

JSON_LINES = (".jsonl", ".ndjson", ".json")

R = TypeVar("R", TextRow, ChoiceRow)

Reachable = LocalData | HubData
"""Sources that the engine reads itself; others are brought to this machine first."""


def read(source: Reachable, tokenizer: PreTrainedTokenizerBase, *, length: int, seed: int) -> Windows:
    """Tokenised windows of `length` tokens. Rows are shuffled by `seed`; a plain text keeps its order.

    Raises:
        DatasetNotFound, DatasetEmpty, DatasetInvalid, DatasetTooShort
    """
    if is_plain(source):
        return windows.pack(windows.encode_text(_text(source), tokenizer), length)
    shuffled = _rows(source)
    random.Random(seed).shuffle(shuffled)
    return windows.pack(windows.encode_rows(shuffled, tokenizer), length)


def joined(source: Reachable, separator: str) -> str:
    """A whole text: a plain one as it stands, rows in their order with `separator` between them.

    Raises:
        DatasetNotFound, DatasetEmpty
        DatasetInvalid: the rows are not texts.
    """
    if is_plain(source):
        return "".join(_text(source))
    return separator.join(row.text for row in _of_kind(TextRow, source, "a perplexity protocol needs rows with `text`"))


def questions(source: Reachable) -> list[ChoiceRow]:
    """Multiple-choice questions, in their order.

    Raises:
        DatasetNotFound, DatasetEmpty
        DatasetInvalid: the rows are not questions.
    """
    return _of_kind(ChoiceRow, source, "a multiple-choice task needs rows with `query`, `choices` and `gold`")


def is_plain(source: Reachable) -> TypeGuard[LocalData]:
    """Whether it is one text, not rows."""
    return isinstance(source, LocalData) and Path(source.path).suffix not in JSON_LINES


def _rows(source: Reachable) -> list[Row]:
    found = _hub_rows(source) if isinstance(source, HubData) else _json_rows(source)
    return list(islice(found, source.max_samples))


def _of_kind(kind: type[R], source: Reachable, wanted: str) -> list[R]:
    found = _rows(source)
    if not found:
        raise errors.DatasetEmpty("There are no rows in the data set.")
    fitting = [row for row in found if isinstance(row, kind)]
    if len(fitting) < len(found):
        raise errors.DatasetInvalid(f"The rows have another shape: {wanted}.")
    return fitting


def _text(source: LocalData) -> Iterator[str]:
    path = _existing(source.path)
    try:
        yield from windows.text_pieces(path, most_lines=source.max_samples)
    except UnicodeDecodeError as error:
        raise errors.DatasetInvalid(
            f"{path.name} is not UTF-8 text (byte {error.start}).", hint="Save it as UTF-8."
        ) from error


def _json_rows(source: LocalData) -> Iterator[Row]:
    path = _existing(source.path)
    try:
        with path.open(encoding="utf-8") as file:
            if path.suffix == ".json":
                yield from _json_array(json.load(file), path.name)
            else:
                yield from rows.read_jsonl(file)
    except UnicodeDecodeError as error:
        raise errors.DatasetInvalid(f"{path.name} is not UTF-8 text (byte {error.start}).") from error
    except json.JSONDecodeError as error:
        raise errors.DatasetInvalid(f"{path.name} is not JSON: {error}.", hint=rows.EXPECTED) from error


def _json_array(value: object, name: str) -> Iterator[Row]:
    if not isinstance(value, list):
        raise errors.DatasetInvalid(f"{name} is not a list of rows.", hint=rows.EXPECTED)
    yield from (rows.from_json(row, number) for number, row in enumerate(value, start=1))


def _hub_rows(source: HubData) -> Iterator[Row]:
    import datasets  # takes seconds to import, and few jobs need it
    import httpx2

    try:
        found = datasets.load_dataset(source.id, source.name, split=source.split, revision=source.revision)
    except (
        datasets.exceptions.DatasetNotFoundError, ValueError, ConnectionError, FileNotFoundError, httpx2.HTTPError
    ) as error:  # fmt: skip
        raise errors.DatasetNotFound(
            f"The data set {source.id} (split {source.split}) could not be read from the hub: {error}"
        ) from error
    except RuntimeError as error:  # it consists of a program, and we run none
        raise errors.DatasetInvalid(
            f"The data set {source.id} cannot be read: {error}", hint="Name one that is stored as Parquet or JSON."
        ) from error
    yield from (rows.from_json(row, number) for number, row in enumerate(found, start=1))


def _existing(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise errors.DatasetNotFound(f"There is no file {path}.")
    if path.stat().st_size == 0:
        raise errors.DatasetEmpty(f"{path.name} is empty.")
    return path
