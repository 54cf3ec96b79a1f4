"""What can be said against a job before it is stored: from its words, and from a look at its model and its texts."""

from datetime import UTC, datetime

from pydantic import BaseModel

from app import base_models, datasets, pointers
from app.deps import Door
from app.pointers import at
from jobs import errors, formats, shapes
from jobs.outline import Plan, forecast
from jobs.specs import JobSpec


def check(spec: JobSpec, door: Door, project_id: str) -> tuple[JobSpec, Plan | None]:
    """The job with its base model at a commit, and what it will keep; None if only the worker can read the model.

    Raises:
        PruneryError: with the JSON Pointer of the field to change, if that helps.
    """
    refuse_nul(spec)
    with at("/limits/deadline"):
        _check_deadline(spec)
    if spec.webhook is not None:
        with at("/webhook/url"):
            door.egress.target(spec.webhook.url)
    train, windows = spec.method.train, _windows(spec)
    for place, source in spec.texts.items():
        with at(place):
            datasets.check(source, door, project_id, window=windows.get(place, 1))
    with at("/base_model"):
        pinned, shape = base_models.look(spec.base_model, door, project_id)
    spec = spec.model_copy(update={"base_model": pinned})
    if shape is None:
        return spec, None
    with at("/method/train/sequence_length"):
        shapes.check_sequence_length(shape, train.sequence_length)
    if spec.evaluation.window is not None:
        with at("/evaluation/window"):
            shapes.check_sequence_length(shape, spec.evaluation.window)
    for number, protocol in enumerate(spec.evaluation.perplexities):
        with at(f"/evaluation/perplexities/{number}/window"):
            shapes.check_sequence_length(shape, protocol.window)
    with at("/method/train/shard_base" if train.shard_base else "/method/train/base_precision"):
        shapes.check_base_held(shape, train.base_precision, sharded=train.shard_base)
    with at("/method/scope"):
        shapes.check_scope(shape, spec.method.scope)
    with at("/output/formats"):
        formats.check(shape, spec.output.formats, spec.method.ffn_multiple)
    with at("/method/ratio" if spec.method.target is None else "/method/target"):
        return spec, forecast(shape, spec)


def _check_deadline(spec: JobSpec) -> None:
    deadline = spec.limits.deadline
    if deadline is not None and deadline <= datetime.now(UTC):
        raise errors.InvalidSpec(f"The deadline {deadline.isoformat()} is over.", hint="Name a time to come.")


def _windows(spec: JobSpec) -> dict[str, int]:
    """The tokens that a text must fill at least once, by the place of the text."""
    trained = spec.method.train.sequence_length
    return {"/dataset": trained, "/evaluation/dataset": spec.evaluation.window or trained} | {
        f"/evaluation/perplexities/{number}/dataset": protocol.window
        for number, protocol in enumerate(spec.evaluation.perplexities)
    }


def refuse_nul(body: BaseModel) -> None:
    """The database stores no NUL, and no path or name has one.

    Raises:
        InvalidSpec: there is one in a text or a key of the body.
    """
    if r"\u0000" in body.model_dump_json():  # as JSON writes it; where it is only matters if there is one
        _refuse_nul(body.model_dump(mode="json"), ())


def _refuse_nul(value: object, place: tuple[object, ...]) -> None:
    if isinstance(value, str) and "\0" in value:
        pointer = pointers.pointer(place)
        field = errors.FieldError(pointer=pointer, code="nul_character", detail="a text cannot hold a NUL character")
        raise errors.InvalidSpec(f"{pointer}: {field.detail}.", errors=(field,))
    if isinstance(value, dict):
        for key, member in value.items():
            _refuse_nul(key, (*place, key))
            _refuse_nul(member, (*place, key))
    if isinstance(value, list):
        for number, member in enumerate(value):
            _refuse_nul(member, (*place, number))
