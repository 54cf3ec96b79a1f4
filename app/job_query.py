"""The parameters of a list of jobs."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from fastapi import Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from app.listing import Cursor, Filters
from jobs.specs import MetadataKey, MetadataValue
from jobs.states import Status

MOST = 100
PREFIX, SUFFIX = "metadata[", "]"

METADATA: dict[str, Any] = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "description": "Only jobs with this metadata: `metadata[team]=nlp`.",
            "style": "deepObject",
            "explode": True,
            "schema": {
                "type": "object",
                "additionalProperties": {"type": "string", "maxLength": 512},
                "propertyNames": {"minLength": 1, "maxLength": 64, "pattern": r"^[^\[\]]+$"},
                "maxProperties": 16,
            },
            "example": {"team": "nlp"},
        }
    ]
}


def _british(status: Any) -> Any:
    return Status.CANCELLED if status == "canceled" else status


class JobQuery(BaseModel):
    """Which jobs, in what order, from where on. A parameter that is none of these is refused, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: list[Annotated[Status, BeforeValidator(_british)]] = Field(
        [], description="Only jobs that stand so; may be repeated. `canceled` will do."
    )
    base_model: str | None = Field(
        None, max_length=2048, description="Only jobs on this model: its hub id, path or URI, as the job names it."
    )
    name: str | None = Field(None, max_length=200, description="Only jobs of this very name.")
    q: str | None = Field(None, max_length=200, description="Only jobs with this somewhere in name or base model.")
    created_after: AwareDatetime | None = None
    created_before: AwareDatetime | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Query(include_in_schema=False)] = Field({}, max_length=16)
    limit: int = Field(20, ge=1, description=f"At most {MOST}; more counts as {MOST}.")
    after: str | None = Field(None, description="The last_id of the page before.")
    before: str | None = Field(None, description="The first_id of the page after.")
    order: Literal["asc", "desc"] = Field("desc", description="By the time of creation.")
    include: list[Literal["total"]] = Field(
        [], description="total: how many there are; counted up to 10,000, then estimated."
    )

    @model_validator(mode="before")
    @classmethod
    def _gather_metadata(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        keys = {key for key in values if key.startswith(PREFIX) and key.endswith(SUFFIX)}
        gathered = {key[len(PREFIX) : -len(SUFFIX)]: values[key] for key in keys}
        rest = {key: value for key, value in values.items() if key not in keys}
        return {**rest, "metadata": gathered} if gathered else rest

    @model_validator(mode="after")
    def _one_cursor(self) -> Self:
        if self.after is not None and self.before is not None:
            raise ValueError("after and before exclude each other")
        return self

    @property
    def size(self) -> int:
        """Of a page."""
        return min(self.limit, MOST)

    @property
    def cursor(self) -> Cursor | None:
        if self.after is not None:
            return Cursor(self.after, "after")
        return None if self.before is None else Cursor(self.before, "before")

    def filters(self, project_id: str) -> Filters:
        return Filters(
            project_id=project_id,
            statuses=self.status,
            base_model=self.base_model,
            name=self.name,
            text=self.q,
            created_after=self.created_after,
            created_before=self.created_before,
            metadata=self.metadata,
        )
