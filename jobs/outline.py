"""The architecture before and after, as clients and reports see it."""

from pydantic import BaseModel, Field

from jobs import widths
from jobs.shapes import ModelShape
from jobs.widths import Layout


class Change(BaseModel):
    """A count in the base model, and in what will be published."""

    before: int
    after: int


class LayerPlan(BaseModel):
    """What one layer keeps where layers differ."""

    query_heads: int
    kv_heads: int
    ffn: int


class Plan(BaseModel):
    """What a job will keep; heads and channels are of each layer, of the widest one if they differ."""

    layers: int = Field(description="Layers that stay.")
    layers_removed: int = 0
    query_heads: Change
    kv_heads: Change
    ffn: Change
    per_layer: tuple[LayerPlan, ...] | None = Field(None, description="Where layers differ: each that stays, in order.")
    parameters: Change = Field(description="Of the model; zeros that are only there to fit a stock class do not count.")
    stored_parameters: int | None = Field(
        None, description="Where the files hold more: with the zeros that pad narrow layers, or that a class wants."
    )
    block_parameters: Change
    ratio: float = Field(description="Part of the block parameters that goes, after rounding.")


def outline(shape: ModelShape, layout: Layout) -> Plan:
    """The plan that keeps `layout`."""
    most = widths.widest(layout)
    differ = len(set(layout)) > 1
    left, stored = widths.parameters(shape, layout), widths.stored_parameters(shape, layout)
    return Plan(
        layers=len(layout),
        layers_removed=shape.layers - len(layout),
        query_heads=Change(before=shape.heads, after=most.kv_groups * shape.group),
        kv_heads=Change(before=shape.kv_heads, after=most.kv_groups),
        ffn=Change(before=shape.ffn, after=most.ffn),
        per_layer=tuple(
            LayerPlan(query_heads=layer.kv_groups * shape.group, kv_heads=layer.kv_groups, ffn=layer.ffn)
            for layer in layout
        )
        if differ
        else None,
        parameters=Change(before=shape.parameters, after=left),
        stored_parameters=stored if stored != left else None,
        block_parameters=Change(
            before=shape.block_parameters, after=shape.block_parameters - widths.removed(shape, layout)
        ),
        ratio=widths.ratio(shape, layout),
    )
