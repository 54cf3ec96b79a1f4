"""From the places that pydantic names to JSON Pointers (RFC 6901) into what the client sent."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from jobs.errors import FieldError, PruneryError

CODES = {"extra_forbidden": "unknown_key"}

Schema = Mapping[str, Any]


def field_error(error: Mapping[str, Any], schema: Schema) -> FieldError:
    """One of the errors that FastAPI reports, said of the client's own document, which `schema` describes."""
    place = error["loc"][1:]
    if error["loc"][0] != "body":
        return FieldError(pointer=pointer(place), code=error["type"], detail=error["msg"])
    parts, parent = walk(place, schema)
    if error["type"].startswith("union_tag"):
        parts.append(error["ctx"]["discriminator"].strip("'"))
    suggestion = None
    if error["type"] == "extra_forbidden":
        suggestion = next(iter(get_close_matches(str(place[-1]), parent.get("properties", {}), n=1)), None)
    return FieldError(
        pointer=pointer(parts),
        code=CODES.get(error["type"], error["type"]),
        detail=_detail(error, suggestion),
        suggestion=suggestion,
    )


def pointer(parts: Sequence[object]) -> str:
    """`~` and `/` inside a part are escaped."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


@contextmanager
def at(place: str) -> Iterator[None]:
    """Says of a refusal which field it is about; nested, the pointers add up."""
    try:
        yield
    except PruneryError as error:
        if error.status == 422:
            below = error.errors[0].pointer if error.errors else ""
            error.errors = (FieldError(pointer=place + below, code=error.code, detail=error.detail),)
        raise


@cache
def schema_of(kind: Any) -> Schema:
    """The JSON Schema of what a route takes as its body."""
    return TypeAdapter(kind).json_schema()


def walk(place: Sequence[str | int], schema: Schema) -> tuple[list[str | int], Schema]:
    """The place without what is not in the document (the tags of unions), and the schema of the last part's parent."""
    parts: list[str | int] = []
    node = _plain(schema, schema)
    parent = node
    for part in place:
        parent = node
        variants = node.get("discriminator", {}).get("mapping", {})
        if part in variants:
            node = _plain({"$ref": variants[part]}, schema)
        elif part != "[key]":
            parts.append(part)
            node = _plain(_member(node, part), schema)
    return parts, parent


def _plain(schema: Schema, whole: Schema) -> Schema:
    """A schema with its reference followed, and without the null of what may be left out."""
    if "$ref" in schema:
        return _plain(whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], whole)
    if "anyOf" in schema:
        return _plain(next(each for each in schema["anyOf"] if each.get("type") != "null"), whole)
    return schema


def _member(schema: Schema, part: str | int) -> Schema:
    if isinstance(part, int):
        items = schema.get("items")
        return items if isinstance(items, dict) else {}
    found = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
    return found if isinstance(found, dict) else {}


def _detail(error: Mapping[str, Any], suggestion: str | None) -> str:
    if error["type"] != "extra_forbidden":
        return str(error["msg"])
    return "there is no such key" + (f"; did you mean {suggestion}?" if suggestion else "")
