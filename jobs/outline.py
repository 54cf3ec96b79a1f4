"""The architecture before and after, as clients and reports see it."""

from collections.abc import Iterator
from dataclasses import replace

from pydantic import BaseModel, Field

from jobs import formats, goals, memory, runtimes, uneven, widths
from jobs.formats import Format
from jobs.goals import Goal
from jobs.shapes import ModelShape
from jobs.specs import ITEM_BYTES, JobSpec
from jobs.widths import Layout

USUAL_DEVICES = 8
"""Of a machine with several."""


class Change(BaseModel):
    """A count in the base model, and in what will be published."""

    before: int
    after: int


class LayerPlan(BaseModel):
    """What one layer keeps where layers differ."""

    query_heads: int
    kv_heads: int
    ffn: int


class FormatPlan(BaseModel):
    """One format that the result will be written in."""

    format: Format
    file: str = Field(description="In the model's repository, or in that of the variant.")
    revision: str | None = Field(description="The branch of a variant with weights in fewer bits; null: the main one.")
    loads_in: tuple[str, ...]
    remark: str | None = Field(None, description="What may not be as expected of it.")


class Plan(BaseModel):
    """What a job will keep; heads and channels are of each layer, of the widest one if they differ."""

    layers: int = Field(description="Layers that stay.")
    layers_removed: int = 0
    query_heads: Change
    kv_heads: Change
    ffn: Change
    widths_known: bool = Field(True, description="False where scores will tell: heads and channels are then the most.")
    per_layer: tuple[LayerPlan, ...] | None = Field(None, description="Where layers differ: each that stays, in order.")
    parameters: Change = Field(description="Of the model; zeros that are only there to fit a stock class do not count.")
    stored_parameters: int | None = Field(
        None, description="Where the files hold more: with the zeros that pad narrow layers, or that a class wants."
    )
    block_parameters: Change
    ratio: float = Field(description="Part of the block parameters that goes, after rounding.")
    bytes: Change | None = Field(None, description="Of the weight files, before in the base model's own dtype.")
    memory: int | None = Field(
        None,
        description="Bytes that the job needs of an accelerator at its peak, about; with `train.shard_base` of each of "
        "eight, or as many as share the batch evenly.",
    )
    loads_in: tuple[str, ...] = Field((), description="Runtimes that load the result without any code of ours.")
    formats: tuple[FormatPlan, ...] = Field((), description="What will be written, and where it will load.")

    @property
    def layers_differ(self) -> bool:
        """Whether layers keep different widths, or may: where scores will tell."""
        return self.per_layer is not None or not self.widths_known


def forecast(shape: ModelShape, spec: JobSpec) -> Plan:
    """What a job will come to, as far as its model's shape tells.

    Raises:
        PlanError: it cannot be planned.
    """
    planned = outline(shape, goals.goal(shape, spec))
    written = shape.dtype if spec.output.dtype == "auto" else spec.output.dtype
    stored = planned.stored_parameters or planned.parameters.after
    size = Change(before=shape.parameters * ITEM_BYTES.get(shape.dtype, 4), after=stored * ITEM_BYTES.get(written, 4))
    peak = memory.estimate(shape, spec, accelerator=True, processes=_processes(spec)).peak
    written_as = tuple(_format(shape, name, planned) for name in spec.output.formats)
    return planned.model_copy(update={"bytes": size, "memory": peak, "formats": written_as})


def _processes(spec: JobSpec) -> int:
    """Those that hold a sharded model together: on which machine, nobody knows yet; else any one holds all."""
    train = spec.method.train
    return memory.processes(train.batch_size, USUAL_DEVICES if train.shard_base else 1)


def _format(shape: ModelShape, name: Format, planned: Plan) -> FormatPlan:
    form = formats.FORMS[name]
    loads_in, remarks = form.loads_in, []
    if name == "safetensors":
        loads_in = planned.loads_in
    elif formats.is_gguf(name):
        narrow = uneven.architecture(shape) if planned.layers_differ else None
        loads_in = uneven.LOADS_IN if narrow else loads_in
        remarks = [*_of_widths(shape, planned, narrow), *_of_blocks(shape, planned, narrow, form.block)]
    return FormatPlan(
        format=name,
        file=form.file,
        revision=name if formats.is_variant(name) else None,
        loads_in=loads_in,
        remark="; ".join(remarks) or None,
    )


def _of_widths(shape: ModelShape, planned: Plan, narrow: str | None) -> Iterator[str]:
    if narrow:
        yield f"each layer at its own widths, without padding, as llama.cpp's architecture {narrow}"
    elif planned.layers_differ:
        yield (
            "narrow layers padded with zeros: "
            f"llama.cpp has no architecture for such a {shape.family} with layers that differ"
        )


def _of_blocks(shape: ModelShape, planned: Plan, narrow: str | None, block: int) -> Iterator[str]:
    rows = {shape.hidden, planned.query_heads.after * shape.head_dim, planned.ffn.after}
    if narrow and planned.per_layer:
        rows |= {width for layer in planned.per_layer for width in (layer.query_heads * shape.head_dim, layer.ffn)}
    odd = sorted(width for width in rows if width % block)
    if odd:
        yield f"rows of {', '.join(map(str, odd))} are no whole blocks of {block}, and stay finer"


def outline(shape: ModelShape, goal: Goal) -> Plan:
    """What is known of a plan before its job."""
    if goal.layout is not None:
        return of_layout(shape, goal.layout)
    whole = widths.alike(replace(shape, layers=goal.layers), widths.full(shape))
    norms = widths.parameters(shape, whole) - (shape.block_parameters - widths.removed(shape, whole))
    after = shape.block_parameters - goal.removed
    most = of_layout(shape, whole)
    changed = {
        "widths_known": False,
        "parameters": Change(before=shape.parameters, after=after + norms),
        "stored_parameters": most.parameters.after,
        "block_parameters": Change(before=shape.block_parameters, after=after),
        "ratio": goal.ratio(shape),
    }
    return most.model_copy(update=changed)


def of_layout(shape: ModelShape, layout: Layout) -> Plan:
    """The plan that keeps `layout`."""
    most = widths.stored(shape, layout)
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
        loads_in=runtimes.loading(shape, most),
    )
