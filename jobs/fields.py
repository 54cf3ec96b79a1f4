"""What is wrong with one field of a request."""

from pydantic import BaseModel, ConfigDict


class FieldError(BaseModel):
    """One wrong field of a request, by JSON Pointer (RFC 6901)."""

    model_config = ConfigDict(frozen=True)

    pointer: str
    code: str
    detail: str
    suggestion: str | float | int | None = None
