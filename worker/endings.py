"""What an engine left behind: a result, or the reason why there is none."""

import json
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import EngineCrashed, EngineKilled, OutOfDisk, OutOfHostMemory, PruneryError
from jobs.tables import Json
from worker import failures
from worker.storable import storable

TOO_LITTLE_BYTES = 2**20
SHELLS_WORD_FOR_KILLED = 128 + signal.SIGKILL
FIELDS = {"code": str, "message": str, "hint": str, "retryable": bool}


@dataclass(frozen=True)
class Result:
    """The engine reached its end. Every file in `model` and in each of the variants is to be published."""

    summary: Json
    model: Path
    variants: Mapping[str, Path]
    """Complete repositories of the same model in other formats, by the name of each."""


@dataclass(frozen=True)
class Failure:
    """The job cannot go on; `error` is what the client is shown."""

    error: Json

    @classmethod
    def of(cls, error: PruneryError, phase: str, excerpt: Sequence[str] = ()) -> "Failure":
        described = failures.describe(error, phase=phase)
        return cls(storable({**described, "log_excerpt": list(excerpt)}) if excerpt else storable(described))


def read(
    out: Path, exit_code: int, *, phase: str, excerpt: Sequence[str], memory_kills: int | None
) -> Result | Failure:
    """
    Args:
        exit_code: Negative if a signal ended the engine.
        phase: The last one it reported.
        excerpt: The last lines that it wrote, shown if it left no reason of its own.
        memory_kills: How many processes the kernel has meanwhile ended for want of memory, if it counts them.
    """
    if exit_code == 0:
        result = _read_object(out / "result.json")
        model = _folder_inside(out, result.get("model_dir"))
        summary = result.get("summary")
        if model is not None and isinstance(summary, dict):
            return Result(storable(summary), model, _variants(out))
        return Failure.of(PruneryError("The engine ended without a result."), phase, excerpt)
    error = _read_object(out / "error.json")
    if all(isinstance(error.get(name), kind) for name, kind in FIELDS.items()):
        return Failure({"phase": phase, "step": None, **storable(error)})
    return Failure.of(_crash(exit_code, shutil.disk_usage(out).free, memory_kills), phase, excerpt)


def disk_full() -> OutOfDisk:
    return OutOfDisk("The disk of the worker is full.", hint="Free some space under PRUNERY_WORK_DIR.")


def _crash(exit_code: int, free_bytes: int, memory_kills: int | None) -> PruneryError:
    if free_bytes < TOO_LITTLE_BYTES:  # an engine that meets a full disk may have no room to say so
        return disk_full()
    if exit_code in (-signal.SIGKILL, SHELLS_WORD_FOR_KILLED):
        if memory_kills == 0:
            return EngineKilled("The engine was killed from outside.")
        return OutOfHostMemory(
            "The engine was killed, as the kernel does when the machine or its container is out of memory.",
            hint="Give the worker more memory, or lower train.micro_batch_size or sequence_length.",
        )
    if exit_code >= 0:
        return PruneryError(f"The engine ended with exit code {exit_code} and without a reason.")
    return EngineCrashed(f"The engine was ended by {signal.Signals(-exit_code).name}.")


def _read_object(path: Path) -> Json:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _variants(out: Path) -> dict[str, Path]:
    folder = out / "variants"
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}


def _folder_inside(out: Path, name: object) -> Path | None:
    if not isinstance(name, str):
        return None
    folder = (out / name).resolve()
    return folder if folder.is_dir() and folder.is_relative_to(out.resolve()) else None
