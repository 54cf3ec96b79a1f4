"""The way of a model into object storage: every file under the hash of its content, the manifest last.

Nothing becomes visible by this: a client sees the files once the job's row says so.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from jobs import tracing
from jobs.errors import PruneryError
from jobs.files import Files, blob_key
from worker.errand import Check, Patience
from worker.leases import Claim, NewArtifact

CHUNK_BYTES = 2**20

Hold = Callable[[Sequence[str]], None]


@tracing.span("publish")
def publish(
    files: Files, model: Path, claim: Claim, *, hold: Hold, check: Check, patience_seconds: float
) -> list[NewArtifact]:
    """Upload every file of `model`; what is there already is not sent again.

    Args:
        hold: Sees to it that contents, by their hashes, stay where they are; see `worker.holds`.
        check: Called between pieces; what it raises ends the upload and passes through.
        patience_seconds: For how long a storage that does not answer is asked again.
    Raises:
        StorageUnavailable: it did not answer for so long.
    """
    patience = Patience(patience_seconds, check)
    artifacts = [
        NewArtifact(path.relative_to(model).as_posix(), path.stat().st_size, _sha256(path, check))
        for path in _files_of(model)
    ]
    # Before the look at what is there: what is found then must not go before the job's row tells of it.
    patience.insist(partial(hold, [artifact.sha256 for artifact in artifacts]))
    for artifact in artifacts:
        patience.insist(partial(_upload, files, model / artifact.path, artifact, check))
    manifest = {
        "job_id": claim.job_id,
        "attempt": claim.attempt,
        "files": [asdict(artifact) for artifact in artifacts],
    }
    key = f"jobs/{claim.job_id}/attempts/{claim.attempt}/manifest.json"
    patience.insist(partial(files.put_bytes, key, json.dumps(manifest, indent=1).encode()))
    return artifacts


def _files_of(model: Path) -> list[Path]:
    paths = sorted(path for path in model.rglob("*") if path.is_symlink() or not path.is_dir())
    strange = [path for path in paths if path.is_symlink() or not path.is_file()]
    if strange or not paths:
        raise PruneryError(
            f"The engine left something that is no file to publish: {strange[0].name}."
            if strange
            else "The engine left no file to publish."
        )
    return paths


def _upload(files: Files, path: Path, artifact: NewArtifact, check: Check) -> None:
    key = blob_key(artifact.sha256)
    if files.size(key) != artifact.bytes:
        files.put_file(path, key, on_bytes=lambda _: check())


def _sha256(path: Path, check: Check) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            check()
            digest.update(chunk)
    return digest.hexdigest()
