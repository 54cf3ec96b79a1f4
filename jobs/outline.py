"""The architecture before and after, as clients and reports see it."""

from pydantic import BaseModel, Field

from jobs import widths
from jobs.shapes import ModelShape
from jobs.widths import Widths


class Change(BaseModel):
    """A count in the base model, and in what will be published."""

    before: int
    after: int


class Plan(BaseModel):
    """What a job will keep; heads and channels are of each layer."""

    layers: int
    query_heads: Change
    kv_heads: Change
    ffn: Change
    parameters: Change
    block_parameters: Change
    ratio: float = Field(description="Part of the block parameters that goes, after rounding.")


def outline(shape: ModelShape, kept: Widths) -> Plan:
    """The plan that keeps `kept` of every layer."""
    gone = widths.removed(shape, kept)
    return Plan(
        layers=shape.layers,
        query_heads=Change(before=shape.heads, after=kept.kv_groups * shape.group),
        kv_heads=Change(before=shape.kv_heads, after=kept.kv_groups),
        ffn=Change(before=shape.ffn, after=kept.ffn),
        parameters=Change(before=shape.parameters, after=shape.parameters - gone),
        block_parameters=Change(before=shape.block_parameters, after=shape.block_parameters - gone),
        ratio=widths.ratio(shape, kept),
    )
