"""The rows that a data set may consist of, and how a JSONL line becomes one."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs import errors

EXPECTED = (
    'a row is {"text": …}, {"prompt": …, "completion": …}, {"messages": [{"role": …, "content": …}, …]} '
    'or, to evaluate on, {"query": …, "choices": […, …], "gold": 0}'
)


@dataclass(frozen=True)
class TextRow:
    """Plain text; every token is learned."""

    text: str


@dataclass(frozen=True)
class PromptRow:
    """A prompt and its answer; only the answer is learned."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class ChatRow:
    """A conversation, written out with the model's chat template; every token is learned."""

    messages: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class ChoiceRow:
    """A question with answers to choose from, `gold` being the place of the right one; it is never learned."""

    query: str
    choices: tuple[str, ...]
    gold: int


Row = TextRow | PromptRow | ChatRow | ChoiceRow


def from_json(value: Mapping[str, Any] | Any, number: int) -> Row:
    """The row that an object describes; keys beyond those of its shape are ignored.

    Args:
        number: Place of the row in its source, from 1, for the error.
    Raises:
        DatasetInvalid: the object has none of the shapes.
    """
    if not isinstance(value, Mapping):
        raise errors.DatasetInvalid(f"Row {number} is {type(value).__name__}, not an object.", hint=EXPECTED)
    if isinstance(value.get("text"), str):
        return TextRow(value["text"])
    if isinstance(value.get("prompt"), str) and isinstance(value.get("completion"), str):
        return PromptRow(value["prompt"], value["completion"])
    if _is_conversation(value.get("messages")):
        messages = ({"role": message["role"], "content": message["content"]} for message in value["messages"])
        return ChatRow(tuple(messages))
    if _is_question(value):
        return ChoiceRow(value["query"], tuple(value["choices"]), value["gold"])
    keys = ", ".join(sorted(map(str, value))) or "none"
    raise errors.DatasetInvalid(f"Row {number} has another shape (its keys: {keys}).", hint=EXPECTED)


def read_jsonl(lines: Iterable[str]) -> Iterator[Row]:
    """The rows of a JSONL file; blank lines are skipped.

    Raises:
        DatasetInvalid: a line is not JSON, has no known shape, or another shape than the first.
    """
    first: type[Row] | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:  # also a number or a nesting without end
            raise errors.DatasetInvalid(f"Line {number} is not JSON: {error}.", hint=EXPECTED) from error
        row = from_json(value, number)
        first = first or type(row)
        if type(row) is not first:
            raise errors.DatasetInvalid(f"Row {number} is a {type(row).__name__}, the first a {first.__name__}.")
        yield row


def _is_question(value: Mapping[str, Any]) -> bool:
    query, choices, gold = value.get("query"), value.get("choices"), value.get("gold")
    return (
        isinstance(query, str)
        and bool(query.strip())
        and isinstance(choices, list)
        and len(choices) >= 2
        and all(isinstance(choice, str) and choice for choice in choices)
        and type(gold) is int
        and 0 <= gold < len(choices)
    )


def _is_conversation(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(message, Mapping)
            and isinstance(message.get("role"), str)
            and isinstance(message.get("content"), str)
            for message in value
        )
    )
