"""Checkpoints of one job in a folder: each is written whole or not at all, and taken only if it is still whole.

FOLDER/checkpoint-00000007/   the seventh that was written
    manifest.json             written last: whose checkpoint it is, and each file's size and SHA-256
    job.json                  what the phases before it came to, and what was told so far
    (the training run's own files: see `training` and `pruning`; none before its first step)
FOLDER/.writing/              one that is being written, or was when the process ended
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the supervisor reads checkpoints too, and must not import torch
    from worker.engine.identity import Identity

KEPT = 3
"""The newest so many stay."""

MANIFEST, JOB, WRITING = "manifest.json", "job.json", ".writing"
FORMAT = 2
_NAME = re.compile(r"checkpoint-\d{8,}")


@dataclass(frozen=True)
class Checkpoint:
    """A whole one. `run` is the training run that it interrupts, or None between runs; `job` is job.json."""

    folder: Path
    run: str | None
    job: dict[str, Any]


class Checkpoints:
    """The folder of one job."""

    def __init__(self, folder: Path, identity: "Identity") -> None:
        """`identity` is of the job that writes here; another one's checkpoints are refused."""
        self.folder = folder
        self._identity = identity

    @property
    def writing(self) -> Path:
        """Where the next one is to be put together: on the same disk, so that it can be renamed into place."""
        return self.folder / WRITING

    def clear(self) -> None:
        """Remove what an earlier process left half-written."""
        shutil.rmtree(self.writing, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole one, if any, and what is wrong with those that are newer.

        Raises:
            CheckpointMismatch: it is of a job with another spec, base model or data.
        """
        damaged: list[str] = []
        for folder in reversed(stored(self.folder)):
            manifest, fault = read_manifest(folder)
            if manifest is None:
                damaged.append(f"{folder.name}: {fault}")
                continue
            self._identity.check(manifest["identity"])
            job = json.loads((folder / JOB).read_text(encoding="utf-8"))
            return Checkpoint(folder, manifest["run"], job), damaged
        return None, damaged

    def commit(
        self,
        written: Path,
        *,
        step: int,
        run: str | None,
        job: Mapping[str, Any],
        sparsity: float | None = None,
        perplexity: float | None = None,
    ) -> Path:
        """Make a folder under `writing` the newest checkpoint, and drop the oldest.

        Args:
            step: optimizer steps of the job so far.
            sparsity: the part of the block parameters that is gone.
            perplexity: on a few held-out windows.
        """
        _write_json(written / JOB, job)
        files = {path.name: _entry(path) for path in sorted(written.iterdir())}
        manifest = {
            "format": FORMAT,
            "step": step,
            "run": run,
            "sparsity": sparsity,
            "perplexity": perplexity,
            "identity": self._identity.content,
            "files": files,
        }
        _write_json(written / MANIFEST, manifest)
        for path in written.iterdir():
            _sync(path)
        _sync(written)
        target = self.folder / f"checkpoint-{_last_number(self.folder) + 1:08d}"
        written.rename(target)
        _sync(self.folder)
        for old in stored(self.folder)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return target


def stored(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first, whole or not."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=_number)


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _last_number(folder: Path) -> int:
    return max(map(_number, stored(folder)), default=0)


def read_manifest(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The manifest if all that it lists is there unchanged, else why not. Reads every byte."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            return None, f"written in format {manifest['format']}"
        faults = list(_faults(folder, manifest["files"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"manifest.json: {error}"
    return (None, faults[0]) if faults else (manifest, "")


def _faults(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if JOB not in files:
        yield f"{JOB} is not listed"
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif path.stat().st_size != entry["bytes"] or _sha256(path) != entry["sha256"]:
            yield f"{name} is not what was written"


def _entry(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
