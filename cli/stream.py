"""Server-sent events, as the service tells of a job while it goes on."""

from collections.abc import Iterator
from typing import NamedTuple


class Message(NamedTuple):
    """One event: its name, its number if it has one, and its JSON. One without a name is a sign of life."""

    event: str
    id: str | None
    data: str


def messages(lines: Iterator[str]) -> Iterator[Message]:
    """What a stream says, line by line (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            yield Message("", None, "")
        elif line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields['data']}\n{value}" if name == "data" and "data" in fields else value
        elif "data" in fields:
            yield Message(fields.get("event", "message"), fields.get("id"), fields["data"])
            fields = {}
        else:
            fields = {}
