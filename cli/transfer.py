"""Bring a published model to this machine, whole and unchanged, in as many tries as it takes."""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import httpx2

from cli.client import Advance, Client, ClientError, is_outage
from cli.resources import Artifact

CHUNK_BYTES = 1 << 20
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)


class TransferFailed(Exception):
    """A file could not be had as the service describes it."""


@dataclass(frozen=True)
class Fetched:
    """What was done for one artifact."""

    artifact: Artifact
    file: Path
    already_there: bool


class Watcher(Protocol):
    """Hears how a transfer goes."""

    def start(self, artifact: Artifact, have: int) -> None:
        """The next file begins, with `have` bytes of it already here."""

    def advance(self, count: int) -> None:
        """So many more bytes have come."""

    def note(self, message: str) -> None:
        """Something that the user should know."""


def fetch_all(
    client: Client, job_id: str, artifacts: Iterable[Artifact], folder: Path, watcher: Watcher
) -> list[Fetched]:
    """Every artifact below `folder`; files that are already there and right are left alone.

    Raises:
        TransferFailed: a file did not arrive as described; the wrong one is removed.
    """
    return [_fetch(client, job_id, artifact, _place(folder, artifact.path), watcher) for artifact in artifacts]


def _place(folder: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise TransferFailed(f"The service names a file outside of the folder: {path!r}.")
    return folder.joinpath(*parts)


def _fetch(client: Client, job_id: str, artifact: Artifact, file: Path, watcher: Watcher) -> Fetched:
    if _is(file, artifact):
        return Fetched(artifact, file, already_there=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    resumed = part.exists()
    _receive(client, job_id, artifact, part, watcher)
    if resumed and not _is(part, artifact):
        watcher.note(f"{artifact.path}: what an earlier download left was damaged; starting over.")
        part.unlink()
        _receive(client, job_id, artifact, part, watcher)
    if not _is(part, artifact):
        found = f"{part.stat().st_size} bytes, sha256 {_sha256(part)}"
        part.unlink()
        raise TransferFailed(
            f"{artifact.path} arrived damaged and was removed: {found}; "
            f"expected {artifact.bytes} bytes, sha256 {artifact.sha256}."
        )
    part.replace(file)
    return Fetched(artifact, file, already_there=False)


def _receive(client: Client, job_id: str, artifact: Artifact, part: Path, watcher: Watcher) -> None:
    """Append to `part` until it has all bytes, over broken connections; a pause is only used up without progress."""
    pauses = iter(PAUSES)
    while True:
        have = part.stat().st_size if part.exists() else 0
        watcher.start(artifact, have)
        if have >= artifact.bytes > 0:
            return
        try:
            _append(client, job_id, artifact, part, have, watcher.advance)
        except ClientError as error:
            if not is_outage(error):
                raise
            if part.exists() and part.stat().st_size > have:
                pauses = iter(PAUSES)
            pause = next(pauses, None)
            if pause is None:
                raise
            watcher.note(f"{artifact.path}: {error} Trying again.")
            time.sleep(pause)
        else:
            return


def _append(client: Client, job_id: str, artifact: Artifact, part: Path, have: int, advance: Advance) -> None:
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": f'"{artifact.sha256}"'}
    with client.artifact(job_id, artifact.path, headers) as response:
        continues = response.status_code == httpx2.codes.PARTIAL_CONTENT
        if have and not continues:
            advance(-have)
        with part.open("ab" if continues else "wb") as file:
            for chunk in response.iter_raw(CHUNK_BYTES):
                file.write(chunk)
                advance(len(chunk))


def _is(file: Path, artifact: Artifact) -> bool:
    return file.is_file() and file.stat().st_size == artifact.bytes and _sha256(file) == artifact.sha256


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
