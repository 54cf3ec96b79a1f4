"""GET /v1/methods."""

import inspect
from functools import cache
from typing import Any, get_args

from fastapi import APIRouter
from pydantic import BaseModel

from app import problems
from app.schemas import Method, MethodList
from jobs.specs import MethodSpec

router = APIRouter(prefix="/v1", tags=["methods"])


@router.get("/methods", responses=problems.responses())
async def methods() -> MethodList:
    """The methods, each with the JSON Schema of what can be asked of it."""
    return MethodList(data=[_method(kind) for kind in _kinds(MethodSpec)])


@cache
def _method(kind: type[BaseModel]) -> Method:
    schema = kind.model_json_schema()
    return Method(
        type=schema["properties"]["type"]["const"],
        title=schema["title"],
        description=inspect.getdoc(kind) or "",
        schema=schema,
    )


def _kinds(annotation: Any) -> list[type[BaseModel]]:
    """The classes of a union, or the one class that stands there alone."""
    if isinstance(annotation, type):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in _kinds(part)]
