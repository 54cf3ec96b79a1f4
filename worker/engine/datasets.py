"""Where training and held-out text comes from: a file on this machine, or a data set on the hub."""

import json
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from jobs import errors, rows
from jobs.rows import Row
from jobs.sources import HubData, LocalData
from worker.engine import windows
from worker.engine.windows import Windows

JSON_LINES = (".jsonl", ".ndjson", ".json")

Reachable = LocalData | HubData
"""Sources that the engine reads itself; others are brought to this machine first."""


def read(source: Reachable, tokenizer: PreTrainedTokenizerBase, *, length: int, seed: int) -> Windows:
    """Tokenised windows of `length` tokens. Rows are shuffled by `seed`; a plain text keeps its order.

    Raises:
        DatasetNotFound, DatasetEmpty, DatasetInvalid, DatasetTooShort
    """
    match source:
        case LocalData(path=path) if Path(path).suffix not in JSON_LINES:
            return windows.pack(windows.encode_text(_text(source), tokenizer), length)
        case LocalData():
            found: Iterable[Row] = _json_rows(source)
        case HubData():
            found = _hub_rows(source)
    shuffled = list(islice(found, source.max_samples))
    random.Random(seed).shuffle(shuffled)
    return windows.pack(windows.encode_rows(shuffled, tokenizer), length)


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
