"""The base model's way between the hub, our object storage and this machine, in the process of the engine."""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.errors import BaseModelNotFound, BaseModelUnavailable, NotFound, StorageUnavailable
from jobs.files import Files, blob_key
from jobs.held_models import HeldFile
from worker import blobs

_log = logging.getLogger(__name__)

Tell = Callable[[list[HeldFile]], None]


def bring(files: Files, held: Sequence[HeldFile], folder: Path, name: str) -> Path:
    """Fetch a model that is held in object storage into a folder, which holds its files and nothing else.

    Raises:
        BaseModelNotFound: a file is not there any more, or not what it was.
        StorageUnavailable, OutOfDisk
    """
    for file in held:
        path = folder / file.path
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BaseModelNotFound(f"{name} has a file outside of its folder: {file.path}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            files.get_file(blob_key(file.sha256), path)
        except NotFound as error:
            raise BaseModelNotFound(f"{file.path} of {name} is not in object storage any more.") from error
        if _sha256(path) != file.sha256:
            raise BaseModelUnavailable(f"{file.path} of {name} did not come as it was stored.")
    return folder


def keep(files: Files, folder: Path) -> list[HeldFile]:
    """Put the files of a folder into object storage; what is there already is not sent again.

    Raises:
        StorageUnavailable
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    held = [HeldFile(path.relative_to(folder).as_posix(), path.stat().st_size, _sha256(path)) for path in paths]
    for path, file in zip(paths, held, strict=True):
        blobs.store(files, path.resolve(), file)
    return held


def try_to_keep(files: Files, folder: Path, tell: Tell) -> None:
    """The same for a job that can do without it. Of several processes that train together, one does it."""
    if os.environ.get("RANK", "0") != "0":
        return
    try:
        tell(keep(files, folder))
    except StorageUnavailable as error:
        _log.warning("The base model is not kept for other jobs: %s", error)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
