"""Contents in object storage, each under its hash."""

import hashlib
from pathlib import Path
from typing import Protocol

from jobs.errors import NotFound, StorageUnavailable
from jobs.files import Files, blob_key
from worker.errand import Check


class Content(Protocol):
    """What is known of a file by its bytes alone."""

    @property
    def bytes(self) -> int: ...

    @property
    def sha256(self) -> str: ...


def store(files: Files, path: Path, content: Content, check: Check = lambda: None) -> None:
    """Have a file's content lie under its hash; what is there already is not sent again.

    Args:
        check: Called between pieces; what it raises ends the upload and passes through.
    Raises:
        StorageUnavailable
    """
    key = blob_key(content.sha256)
    if files.size(key) != content.bytes:
        files.put_file(path, key, on_bytes=lambda _: check())
        verify(files, content, check)


def verify(files: Files, content: Content, check: Check) -> None:
    """Read back what was stored: the checksums that storages keep of uploads in parts are of the parts only.

    Raises:
        StorageUnavailable: it is not what was sent; it is deleted, so that the next try sends it again.
    """
    key, digest = blob_key(content.sha256), hashlib.sha256()
    try:
        for piece in files.open_range(key, 0, content.bytes):
            check()
            digest.update(piece)
    except NotFound as error:
        raise StorageUnavailable(f"Object storage has lost {key} at once.") from error
    if digest.hexdigest() != content.sha256:
        files.delete(key)
        raise StorageUnavailable(f"Object storage keeps other bytes under {key} than were sent.")
