"""Versions of models that are made of uploaded files. Never commits."""

import json
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import base_models, pointers
from app.deps import Door
from app.held import HeldFolder
from app.upload_schemas import NewVersion
from jobs import git_names, revisions, webhooks
from jobs.errors import FieldError, InvalidSpec
from jobs.files import blob_key
from jobs.held_models import HeldFile
from jobs.registry_tables import ModelRow, RevisionRow
from jobs.revisions import MAIN, NewFile
from jobs.tables import Json
from jobs.upload_tables import UploadRow

CONFIG = "config.json"
LONGEST_CONFIG = 16 * 2**20


def held(session: Session, wanted: NewVersion, *, project_id: str) -> list[HeldFile]:
    """The files of a new version, which are all in object storage.

    Raises:
        InvalidSpec: a file was not uploaded, or not to its end; or two have one path.
    """
    hashes = {file.sha256 for file in wanted.files}
    query = select(UploadRow.sha256, UploadRow.bytes).where(
        UploadRow.project_id == project_id, UploadRow.sha256.in_(hashes), UploadRow.completed_at.is_not(None)
    )
    sizes = {sha256: size for sha256, size in session.execute(query.with_for_update(read=True))}
    paths = [file.path for file in wanted.files]
    faults: list[FieldError] = []
    for number, file in enumerate(wanted.files):
        if file.sha256 not in sizes:
            detail = "the project has no complete upload with this hash"
            faults.append(FieldError(pointer=f"/files/{number}/sha256", code="not_uploaded", detail=detail))
        if file.path in paths[:number]:
            detail = f"{file.path} is there twice"
            faults.append(FieldError(pointer=f"/files/{number}/path", code="duplicate", detail=detail))
    if faults:
        raise InvalidSpec(f"{faults[0].pointer}: {faults[0].detail}.", errors=tuple(faults))
    return [HeldFile(file.path, sizes[file.sha256], file.sha256) for file in wanted.files]


def check(door: Door, files: Sequence[HeldFile]) -> Json:
    """What is told of the version without reading it.

    Raises:
        BaseModelError: a job could not make it smaller.
    """
    folder = HeldFolder(door.files, list(files))
    with pointers.at("/files"):
        base_models.shape_of(folder)
    config = json.loads(folder.read(CONFIG, LONGEST_CONFIG))
    return {"config": {key: config[key] for key in ("architectures", "model_type") if key in config}}


def named_by_git(door: Door, files: Sequence[HeldFile]) -> list[NewFile]:
    """The same files, with what git would call each."""
    return [
        NewFile(
            file.path,
            file.bytes,
            file.sha256,
            git_names.pointer_oid(file.sha256, file.bytes)
            if git_names.is_large(file.path, file.bytes)
            else git_names.blob_oid(door.files.read(blob_key(file.sha256), file.bytes)),
        )
        for file in files
    ]


def create(
    session: Session, model: ModelRow, name: str, wanted: NewVersion, files: Sequence[NewFile], facts: Json
) -> RevisionRow:
    """The newest version of the model from now on; the same files are the same version."""
    commit = revisions.record(session, model.id, files, title=wanted.title, license=wanted.license, facts=facts)
    revisions.point(session, model.id, MAIN, "branch", commit)
    model.updated_at = func.now()
    webhooks.tell_of_model(session, model, name, "published", {"commit": commit})
    session.flush()
    return session.get_one(RevisionRow, (model.id, commit))
