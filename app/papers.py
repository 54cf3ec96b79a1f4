"""What is written about a job's result: its recipe, its report, and what each layer keeps. Never commits."""

import json
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app import store, verbs
from app.deps import Door
from jobs.errors import NotFound, StateConflict, StorageUnavailable
from jobs.files import blob_key
from jobs.outline import Change, LayerPlan, Plan
from jobs.overrides import overridden
from jobs.registry_tables import RevisionFileRow
from jobs.states import FINAL
from jobs.tables import JobRow

RECIPE, REPORT, PAGE = "recipe.yaml", "compression_report.json", "report.html"


class Layer(BaseModel):
    """What becomes of one layer of the base model."""

    index: int | None = Field(description="Place in the base model, from 0; null while it is open which layers go.")
    query_heads: Change
    kv_heads: Change
    ffn: Change = Field(description="Channels of the feed-forward network.")
    kv_groups: list[int] | None = Field(description="The KV heads that stay, each with its query heads; null: open.")
    ffn_channels: list[int] | None = Field(description="The channels that stay; null: open.")


class LayerList(BaseModel):
    """Every layer that stays, in order; the published model's, or before there is one, as planned."""

    object: Literal["list"] = "list"
    source: Literal["plan", "report"]
    layers_removed: int
    data: list[Layer]


def recipe(door: Door, job_id: str, project_id: str) -> bytes:
    """The published recipe; before there is one, what the next attempt will be told.

    Raises:
        NotFound: there is no such job.
    """
    with door.sessions() as session:
        row = store.get(session, job_id, project_id=project_id)
        file = _file(session, row, RECIPE)
    if file is None:
        return yaml.safe_dump(overridden(row.spec, row.overrides), sort_keys=False, allow_unicode=True).encode()
    return _read(door, file)


def published(door: Door, job_id: str, path: str, project_id: str) -> bytes:
    """A paper of a job that has succeeded.

    Raises:
        NotFound: there is no such job, or it has ended without.
        StateConflict: it is still to come.
    """
    with door.sessions() as session:
        row = store.get(session, job_id, project_id=project_id)
        file = _file(session, row, path)
    if file is not None:
        return _read(door, file)
    if row.status in FINAL:
        raise NotFound(f"Job {job_id} ({row.status}) has no {path}.")
    raise StateConflict(f"Job {job_id} is {row.status}; {path} comes with its success.", allowed=verbs.possible(row))


def layers(door: Door, job_id: str, project_id: str) -> LayerList:
    """
    Raises:
        NotFound: there is no such job, or it has ended without a plan.
        StateConflict: nothing is known of its layers yet.
    """
    with door.sessions() as session:
        row = store.get(session, job_id, project_id=project_id)
        file = _file(session, row, REPORT)
    if file is None and row.plan is not None:
        return _planned(Plan.model_validate(row.plan))
    report: dict[str, Any] = json.loads(published(door, job_id, REPORT, project_id))
    return _kept(Plan.model_validate(report["plan"]), report["kept"])


def _planned(plan: Plan) -> LayerList:
    alike = LayerPlan(query_heads=plan.query_heads.after, kv_heads=plan.kv_heads.after, ffn=plan.ffn.after)
    each = plan.per_layer or (alike,) * plan.layers
    data = [
        Layer(
            index=None if plan.layers_removed else index,
            query_heads=Change(before=plan.query_heads.before, after=layer.query_heads),
            kv_heads=Change(before=plan.kv_heads.before, after=layer.kv_heads),
            ffn=Change(before=plan.ffn.before, after=layer.ffn),
            kv_groups=None,
            ffn_channels=None,
        )
        for index, layer in enumerate(each)
    ]
    return LayerList(source="plan", layers_removed=plan.layers_removed, data=data)


def _kept(plan: Plan, kept: list[dict[str, Any]]) -> LayerList:
    """`kept` is the report's: the units that stay, layer by layer."""
    group = plan.query_heads.before // plan.kv_heads.before
    data = [
        Layer(
            index=layer["index"],
            query_heads=Change(before=plan.query_heads.before, after=group * len(layer["kv_groups"])),
            kv_heads=Change(before=plan.kv_heads.before, after=len(layer["kv_groups"])),
            ffn=Change(before=plan.ffn.before, after=len(layer["ffn_channels"])),
            kv_groups=layer["kv_groups"],
            ffn_channels=layer["ffn_channels"],
        )
        for layer in kept
    ]
    return LayerList(source="report", layers_removed=plan.layers_removed, data=data)


def _file(session: Session, row: JobRow, path: str) -> RevisionFileRow | None:
    try:
        return store.artifact(session, row.id, path, project_id=row.project_id)
    except NotFound:
        return None


def _read(door: Door, file: RevisionFileRow) -> bytes:
    try:
        return door.files.read(blob_key(file.sha256), file.bytes)
    except NotFound as error:
        raise StorageUnavailable(f"The bytes of {file.path} are not in object storage.") from error
