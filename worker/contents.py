"""The files of a folder as a repository knows them: by SHA-256, and by the name that git would give them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import PruneryError
from jobs.git_names import blob_header, is_large, pointer_oid
from jobs.revisions import NewFile
from worker.errand import Check

CHUNK_BYTES = 2**20


def read(folder: Path, check: Check) -> list[NewFile]:
    """Every file below the folder, by path.

    Raises:
        PruneryError: there is none, or something that is no file.
    """
    return [_read(folder, path, check) for path in _files_of(folder)]


def _files_of(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    strange = [path for path in paths if path.is_symlink() or not path.is_file()]
    if strange or not paths:
        raise PruneryError(
            f"The engine left something that is no file to publish: {strange[0].name}."
            if strange
            else "The engine left no file to publish."
        )
    return paths


def _read(folder: Path, path: Path, check: Check) -> NewFile:
    name, size = path.relative_to(folder).as_posix(), path.stat().st_size
    content, blob = hashlib.sha256(), hashlib.sha1(blob_header(size), usedforsecurity=False)
    for chunk in _chunks(path):
        check()
        content.update(chunk)
        blob.update(chunk)
    sha256 = content.hexdigest()
    git_oid = pointer_oid(sha256, size) if is_large(name, size) else blob.hexdigest()
    return NewFile(name, size, sha256, git_oid)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
