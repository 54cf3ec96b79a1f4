"""What a job would come to, before it is asked for: the plan, and what its asker may want to know first."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, Field

from app import intake
from app.deps import Door
from jobs.outline import Plan
from jobs.sources import HubModel
from jobs.specs import JobSpec

# Of the ratio asked for; widths come in groups and multiples.
NOTABLE_ROUNDING = 0.01


class Warning(BaseModel):
    """Nothing that keeps the job from running."""

    code: str
    pointer: str = Field(description="The field it comes from, as a JSON Pointer.")
    detail: str


class Estimate(BaseModel):
    """What a job would come to; nothing is stored."""

    object: Literal["compression.estimate"] = "compression.estimate"
    plan: Plan | None = Field(description="As in a job; null if only a worker can read the model.")
    memory_bytes: int | None = Field(description="What the job needs of an accelerator at its peak, about.")
    loads_in: tuple[str, ...] = Field(description="Runtimes that would load the result without any code of ours.")
    warnings: list[Warning]
    config: dict[str, Any] = Field(description="The request, with every default filled in.")


def estimate(spec: JobSpec, door: Door, project_id: str) -> Estimate:
    """
    Raises:
        PruneryError: the job would be refused, for this reason.
    """
    spec, plan = intake.check(spec, door, project_id)
    return Estimate(
        plan=plan,
        memory_bytes=None if plan is None else plan.memory,
        loads_in=() if plan is None else plan.loads_in,
        warnings=list(_warnings(spec, plan)),
        config=spec.model_dump(mode="json"),
    )


def _warnings(spec: JobSpec, plan: Plan | None) -> Iterator[Warning]:
    model, asked = spec.base_model, spec.method.ratio
    if isinstance(model, HubModel) and model.revision is None:
        detail = "The hub does not answer: the job takes whatever the default branch holds when it runs."
        yield Warning(code="revision_not_pinned", pointer="/base_model/revision", detail=detail)
    if plan is None:
        detail = "The hub does not answer, so that only the worker will tell what the job comes to."
        yield Warning(code="model_not_read", pointer="/base_model", detail=detail)
        return
    if asked is not None and abs(plan.ratio - asked) > NOTABLE_ROUNDING:
        detail = (
            f"Whole heads and multiples of {spec.method.ffn_multiple} channels come to a ratio of {plan.ratio:.3f}."
        )
        yield Warning(code="ratio_rounded", pointer="/method/ratio", detail=detail)
    if not plan.widths_known:
        detail = "Scores will tell what each layer keeps; heads and channels are the most there can be."
        yield Warning(code="widths_unknown", pointer="/method/budget", detail=detail)
    if plan.stored_parameters is not None:
        detail = (
            f"In safetensors narrow layers are padded with zeros: {plan.stored_parameters:,} parameters are stored."
        )
        yield Warning(code="layers_padded", pointer="/method/budget/allocation", detail=detail)
