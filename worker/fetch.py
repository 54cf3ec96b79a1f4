"""Bringing a job's inputs to this machine: uploaded files and object storage, under one folder."""

import logging
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from jobs import errors, files, model_files
from jobs.files import Files
from jobs.held_models import HeldFile
from jobs.settings import S3Settings
from jobs.sources import (
    DataSource,
    FileData,
    GgufModel,
    HubData,
    HubModel,
    LocalData,
    LocalModel,
    ModelSource,
    RegistryModel,
    S3Data,
    S3Model,
)
from jobs.specs import JobSpec
from worker import keep
from worker.engine import base_models
from worker.engine.base_models import Copy
from worker.engine.base_models import Reachable as ReachableModel
from worker.engine.datasets import Reachable as ReachableData
from worker.engine.job import Inputs

_log = logging.getLogger(__name__)

Tell = Callable[[str, list[HeldFile]], None]


def fetch(spec: JobSpec, folder: Path, held: Sequence[HeldFile] = (), tell: Tell | None = None) -> Inputs:
    """Download what the engine cannot reach by itself.

    Args:
        held: The base model's files, if they lie in our object storage.
        tell: Told the commit and the files of a hub model that is now there too; it is not put there if None.
    Raises:
        BaseModelNotFound, DatasetNotFound: there is nothing at the place named.
        StorageUnavailable, OutOfDisk
    """
    texts = {place: _data(source, folder / place.strip("/")) for place, source in spec.texts.items()}
    return Inputs(
        model=_model(spec.base_model, folder / "base", held, tell),
        training=texts["/dataset"],
        held_out=texts.get("/evaluation/dataset"),
        texts=texts,
    )


def _model(source: ModelSource, folder: Path, held: Sequence[HeldFile], tell: Tell | None) -> ReachableModel:
    match source:
        case RegistryModel(id=id, revision=commit):
            if not held:
                raise errors.BaseModelNotFound(f"There is no model {id} any more, or not this revision of it.")
            return Copy(keep.bring(_storage(), held, folder, id), id, commit)
        case HubModel():
            return _hub_model(source, folder, held, tell)
        case S3Model(uri=uri):
            _download_prefix(uri, folder)
            return LocalModel(source="local", path=str(folder))
        case GgufModel(path=path) if path.startswith("s3://"):
            try:
                return GgufModel(source="gguf", path=str(_download(path, folder)))
            except errors.NotFound as error:
                raise errors.BaseModelNotFound(f"There is no object {path}.") from error
        case _:
            return source


def _hub_model(source: HubModel, folder: Path, held: Sequence[HeldFile], tell: Tell | None) -> ReachableModel:
    if held:
        try:
            return Copy(keep.bring(_storage(), held, folder, source.id), source.id, source.revision)
        except errors.BaseModelNotFound as error:  # it is put there once more
            _log.warning("The hub is asked again: %s", error)
            shutil.rmtree(folder, ignore_errors=True)
    if tell is None:
        return source
    there = base_models.download(source)
    keep.try_to_keep(_storage(), there, partial(tell, there.name))
    return Copy(there, source.id, there.name)


def _data(source: DataSource, folder: Path) -> ReachableData:
    match source:
        case FileData(id=file_id):
            storage = _storage()
            found = storage.list_prefix(f"s3://{storage.bucket}/{files.upload_folder(file_id)}", limit=1)
            if not found:
                raise errors.DatasetNotFound(f"There is no uploaded file {file_id}.")
            uri = f"s3://{storage.bucket}/{found[0].key}"
        case S3Data(uri=uri):
            pass
        case LocalData() | HubData():
            return source
    try:
        path = _download(uri, folder)
    except errors.NotFound as error:
        raise errors.DatasetNotFound(f"There is no object {uri}.") from error
    return LocalData(source="local", path=str(path), max_samples=source.max_samples)


def _download_prefix(uri: str, folder: Path) -> None:
    storage = _storage()
    # A model folder is flat; anything deeper is somebody's checkpoint or cache.
    found = {entry.name: entry for entry in storage.list_prefix(uri) if "/" not in entry.name}
    if not found:
        raise errors.BaseModelNotFound(f"There is nothing under {uri}.")
    model_files.check(found)
    folder.mkdir(parents=True, exist_ok=True)
    for name, entry in found.items():
        if not model_files.is_pickle(name):
            storage.get_file(entry.key, folder / name, bucket=entry.bucket)


def _download(uri: str, folder: Path) -> Path:
    bucket, key = files.split_uri(uri)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / key.rpartition("/")[2]
    _storage().get_file(key, path, bucket=bucket)
    return path


def _storage() -> Files:
    try:
        return Files(S3Settings())
    except ValidationError as error:
        raise errors.StorageUnavailable(
            "Object storage is not configured.", hint="Set PRUNERY_S3_ENDPOINT, _ACCESS_KEY and _SECRET_KEY."
        ) from error
