"""A recipe checked before anything is done for it, every wrong field by its place."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from jobs.errors import FieldError, InvalidSpec
from jobs.specs import JobSpec

# The keys whose value chooses between the forms of an object; pydantic names the form in the place of an error.
TAGS = ("source", "type")


def check(recipe: Mapping[str, Any]) -> JobSpec:
    """The specification that a recipe is.

    Raises:
        InvalidSpec: with one field error for each thing that is wrong.
    """
    try:
        return JobSpec.model_validate(recipe)
    except ValidationError as error:
        fields = tuple(
            FieldError(pointer=_pointer(recipe, item["loc"]), code=item["type"], detail=item["msg"])
            for item in error.errors(include_url=False)
        )
        count = "1 field is" if len(fields) == 1 else f"{len(fields)} fields are"
        raise InvalidSpec(f"The recipe does not describe a job: {count} wrong.", errors=fields) from error


def _pointer(recipe: Mapping[str, Any], place: Sequence[str | int]) -> str:
    current: Any = recipe
    parts = []
    for name in place:
        if isinstance(current, Mapping) and any(current.get(tag) == name for tag in TAGS):
            continue
        parts.append(str(name).replace("~", "~0").replace("/", "~1"))
        current = _inside(current, name)
    return "".join(f"/{part}" for part in parts)


def _inside(value: Any, name: str | int) -> Any:
    if isinstance(value, Mapping):
        return value.get(name)
    if isinstance(value, Sequence) and isinstance(name, int) and name < len(value):
        return value[name]
    return None
