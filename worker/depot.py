"""The way of a checkpoint into object storage and back: each file under the hash of its content, the manifest last.

Every attempt has a place of its own, so that a worker that was overtaken cannot disturb the one that came after it. A
checkpoint counts once a row tells of it (`worker.saved`); what no row tells of goes with the job.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import NotFound, StorageUnavailable
from jobs.files import Files
from jobs.tables import CheckpointRow, Json
from worker.engine import checkpoints
from worker.errand import Check
from worker.leases import Claim

FETCHING = ".fetching"


@dataclass(frozen=True)
class Stored:
    """A checkpoint that lies in object storage; `files` are its manifest's: size and SHA-256 by name."""

    manifest_key: str
    sha256: str
    files: Json
    step: int
    run: str | None
    sparsity: float | None
    perplexity: float | None

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(entry["bytes"] for entry in self.files.values())


class Broken(Exception):
    """What lies in object storage is not what was put there."""


def put(files: Files, folder: Path, claim: Claim, check: Check) -> Stored:
    """Upload a checkpoint; what an earlier one of this attempt has brought there is not sent again.

    Raises:
        FileNotFoundError: the engine has dropped it for newer ones meanwhile.
        StorageUnavailable
    """
    written = (folder / checkpoints.MANIFEST).read_bytes()
    manifest = json.loads(written)
    for name, entry in manifest["files"].items():
        key, size = _key(claim.job_id, claim.attempt, entry["sha256"]), entry["bytes"]
        if files.size(key) != size:
            check()
            files.put_file(folder / name, key, on_bytes=lambda _: check())
            if files.size(key) != size:
                raise StorageUnavailable(f"Object storage keeps other bytes under {key} than were sent.")
    manifest_key = _key(claim.job_id, claim.attempt, f"{folder.name}.json")
    check()
    files.put_bytes(manifest_key, written)
    return Stored(
        manifest_key=manifest_key,
        sha256=hashlib.sha256(written).hexdigest(),
        files=manifest["files"],
        step=manifest["step"],
        run=manifest["run"],
        sparsity=manifest.get("sparsity"),
        perplexity=manifest.get("perplexity"),
    )


def fetch(files: Files, row: CheckpointRow, folder: Path, check: Check) -> Path:
    """Download a checkpoint into the folder of checkpoints, where it appears only when whole.

    Raises:
        Broken: a file is missing, or another one than was put there.
        StorageUnavailable, OutOfDisk
    """
    target = folder / f"checkpoint-{row.number:08d}"
    fetching = folder / FETCHING
    shutil.rmtree(fetching, ignore_errors=True)
    fetching.mkdir(parents=True)
    try:
        _get(files, row.manifest_key, fetching / checkpoints.MANIFEST, row.sha256, check)
        for name, entry in row.files.items():
            _get(files, row.key(entry["sha256"]), fetching / name, entry["sha256"], check)
        fetching.rename(target)
    finally:
        shutil.rmtree(fetching, ignore_errors=True)
    return target


def remove(files: Files, gone: Iterable[CheckpointRow], kept: Iterable[CheckpointRow]) -> None:
    """Delete the objects of checkpoints, but for those that others share with them, and for those of other jobs."""
    shared = {key for row in kept for key in _keys(row)}
    for row in gone:
        if row.origin_job_id is None:
            for key in sorted(_keys(row) - shared):
                files.delete(key)


def _keys(row: CheckpointRow) -> set[str]:
    return {row.manifest_key, *(row.key(entry["sha256"]) for entry in row.files.values())}


def _get(files: Files, key: str, path: Path, sha256: str, check: Check) -> None:
    try:
        files.get_file(key, path, on_bytes=lambda _: check())
    except NotFound as error:
        raise Broken(f"{path.name} is missing") from error
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise Broken(f"{path.name} is not what was put there")


def _key(job_id: str, attempt: int, name: str) -> str:
    return f"jobs/{job_id}/attempts/{attempt}/checkpoints/{name}"
