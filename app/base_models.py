"""A look at the base model from its small files, without its weights."""

import json
import logging
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol, assert_never

from app import gguf, held, hub, local_paths, storage_places
from app.deps import Door
from app.pointers import at
from jobs import errors, model_files, shapes
from jobs.files import Files, split_uri
from jobs.shapes import ModelShape
from jobs.sources import GgufModel, HubModel, LocalModel, ModelSource, RegistryModel, S3Model

LONGEST_JSON = 16 * 2**20
INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.*", "vocab.*", "tekken.json")
CHUNK_BYTES = 256 * 2**10

logger = logging.getLogger(__name__)


class Folder(Protocol):
    """Where a model's files lie."""

    def names(self) -> Sequence[str]: ...

    def read(self, name: str, limit: int) -> bytes: ...


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        with at("/path"), _local_errors(self.path):
            return os.listdir(self.path)

    def read(self, name: str, limit: int) -> bytes:
        with _local_errors(self.path / name), (self.path / name).open("rb") as file:
            return file.read(limit)


class S3Folder:
    """What lies under a prefix of object storage."""

    def __init__(self, files: Files, uri: str) -> None:
        self.files, self.uri = files, uri

    def names(self) -> list[str]:
        found = [entry.name for entry in self.files.list_prefix(self.uri)]
        if not found:
            with at("/uri"):
                raise errors.BaseModelNotFound(f"There is nothing under {self.uri}.")
        return found

    def read(self, name: str, limit: int) -> bytes:
        bucket, prefix = split_uri(self.uri)
        return self.files.read(f"{prefix.rstrip('/')}/{name}", limit, bucket)


def look(source: ModelSource, door: Door, project_id: str) -> tuple[ModelSource, ModelShape | None]:
    """The model as a job is to name it, with the commit that it is at, and its shape; None if only a worker can tell.

    Raises:
        BaseModelError: with a pointer below the source.
    """
    match source:
        case HubModel():
            return _of_hub(source, door)
        case RegistryModel():
            pinned, folder = held.of_registry(source, door, project_id)
            return pinned, shape_of(folder)
        case LocalModel(path=path):
            return source, shape_of(LocalFolder(_allowed(path, door)))
        case S3Model(uri=uri):
            with at("/uri"):
                _require_allowed(uri, door.files.bucket)
            return source, shape_of(S3Folder(door.files, uri))
        case GgufModel(path=path):
            return source, _gguf_shape(path, door)
        case _:
            assert_never(source)


def _of_hub(source: HubModel, door: Door) -> tuple[HubModel, ModelShape | None]:
    """From a copy if this very commit is held, else from the hub; if the hub is silent, at the commit held last."""
    if (folder := held.copy(source, door)) is not None:
        return source, shape_of(folder)
    there = hub.HubFolder(source.id, source.revision)
    try:
        shape = shape_of(there)
        return source.model_copy(update={"revision": there.revision}), shape
    except hub.Silent as silence:
        logger.info("the hub is silent about %s: %s", source.id, silence)
    pinned = held.newest(source, door) if source.revision is None else source
    folder = held.copy(pinned, door)
    return pinned, None if folder is None else shape_of(folder)


def shape_of(folder: Folder) -> ModelShape:
    """
    Raises:
        BaseModelError: it is no model that we can make smaller, or not all of it is there.
    """
    names = folder.names()
    model_files.check(names)
    _check_shards(folder, names)
    if not any(fnmatch(name, pattern) for name in names for pattern in TOKENIZERS):
        raise errors.BaseModelIncomplete(
            "There is no tokenizer beside the weights.", hint="Save it there: tokenizer.save_pretrained(folder)."
        )
    return shapes.read(_json(folder, "config.json"))


def _check_shards(folder: Folder, names: Sequence[str]) -> None:
    if "model.safetensors" in names:
        return
    if INDEX not in names:
        raise errors.BaseModelIncomplete(f"The weights are in several files, but {INDEX} is missing.")
    mapping = _json(folder, INDEX).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise errors.BaseModelIncomplete(f"{INDEX} has no weight_map.")
    missing = sorted(set(map(str, mapping.values())) - set(names))
    if missing:
        raise errors.BaseModelIncomplete(
            f"{len(missing)} of the weight files that {INDEX} names are missing, {missing[0]} first.",
            hint="Copy or download the model again.",
        )


def _json(folder: Folder, name: str) -> dict[str, Any]:
    try:
        value = json.loads(folder.read(name, LONGEST_JSON))
    except (ValueError, RecursionError) as error:
        raise errors.BaseModelIncomplete(f"{name} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise errors.BaseModelIncomplete(f"{name} is not a JSON object.")
    return value


def _gguf_shape(path: str, door: Door) -> ModelShape:
    chunks = _s3_chunks(path, door.files) if path.startswith("s3://") else _local_chunks(_allowed(path, door))
    with closing(chunks):
        config = gguf.config(chunks)
    return shapes.read(config)


def _s3_chunks(uri: str, files: Files) -> Generator[bytes]:
    bucket, key = split_uri(uri)
    with at("/path"):
        _require_allowed(uri, files.bucket)
        size = files.size(key, bucket) if bucket and key else None
        if size is None:
            raise errors.BaseModelNotFound(f"There is no object {uri}.")
    yield from files.open_range(key, 0, size, bucket)


def _require_allowed(uri: str, bucket: str) -> None:
    try:
        storage_places.allowed(uri, bucket)
    except storage_places.NotAllowed as error:
        raise errors.BaseModelNotFound(str(error)) from error


def _local_chunks(path: Path) -> Generator[bytes]:
    with at("/path"), _local_errors(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise errors.BaseModelNotFound(f"{path} is not a file.", hint="Name one .gguf file.")
        file = path.open("rb")
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _allowed(name: str, door: Door) -> Path:
    try:
        return local_paths.allowed(name, door.settings.local_roots)
    except local_paths.NotAllowed as error:
        with at("/path"):
            raise errors.BaseModelNotFound(str(error)) from error


@contextmanager
def _local_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.BaseModelNotFound(f"{path} cannot be read: {error.strerror}.") from error
