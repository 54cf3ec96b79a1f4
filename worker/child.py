"""`python -m worker.child`: one job in a process of its own, which speaks through a pipe and two files.

Events go to the pipe, one JSON object per line. The end is OUT/result.json with OUT/model (exit code 0), or
OUT/error.json (1). OUT/order, renamed into place at any time, says `finish` to train no further and publish what there
is, or `stop` to keep a checkpoint after the current training step, or to wait for the end of another phase, and end
without a result: exit code 75.
"""

import argparse
import errno
import json
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from jobs import errors
from jobs.specs import JobSpec
from worker import process

if TYPE_CHECKING:
    from worker.engine.job import Inputs
    from worker.engine.reporter import Reporter

logger = logging.getLogger(__name__)

SMALLER = "Lower train.micro_batch_size or sequence_length."
# What the CUDA runtime says of hardware, and not of a program that misuses it.
GPU_FAULTS = re.compile(
    r"CUDA.*(uncorrectable (ECC|NVLink) error|hardware stack error|hardware error|devices are busy or unavailable"
    r"|GPU is lost|fallen off the bus|GPU requires reset|Xid)",
    re.IGNORECASE | re.DOTALL,
)
RESULT, ERROR, MODEL = "result.json", "error.json", "model"


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit code."""
    process.die_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parser = argparse.ArgumentParser(prog="python -m worker.child")
    parser.add_argument("--spec", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoints", type=Path, help="keep them here, and go on from the newest that is whole")
    parser.add_argument("--held", type=Path, help="JSON of the base model's files, which lie in object storage")
    parser.add_argument("--keep-base", action="store_true", help="put a hub model into object storage, and tell of it")
    parser.add_argument("--processes", type=int, help="that train together; as many as there are GPUs if not given")
    parser.add_argument("--events-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    with open(options.events_fd, "w", encoding="utf-8", buffering=1) as events:
        spec = JobSpec.model_validate_json(options.spec.read_bytes())
        return _run(spec, options, events)


def _run(spec: JobSpec, options: argparse.Namespace, events: TextIO) -> int:
    out: Path = options.out

    def emit(event: Mapping[str, object]) -> None:
        events.write(json.dumps(event) + "\n")

    emit({"type": "phase", "phase": "preparing"})
    # Torch takes seconds to import: say first that work has begun.
    from worker.engine.orders import Stopped
    from worker.engine.reporter import Reporter

    reporter = Reporter(emit)
    try:
        summary = _compress(spec, options, reporter)
    except Stopped:
        # Of several processes the first one's exit code counts; an error of another would end it.
        return process.STOPPED if os.environ.get("RANK", "0") == "0" else 0
    except Exception as error:  # the one place where any error becomes the job's last word
        _write_error(out, _named(error), reporter, spec)
        return 1
    (out / RESULT).write_text(json.dumps({"summary": summary, "model_dir": MODEL}), encoding="utf-8")
    return 0


def _compress(spec: JobSpec, options: argparse.Namespace, reporter: "Reporter") -> dict[str, object]:
    from worker import companions
    from worker.engine import orders, pipeline, ranks

    out, kept = options.out, options.checkpoints
    out.mkdir(parents=True, exist_ok=True)
    heard = orders.Orders(out / orders.FILE)
    reporter.phase("downloading_base")
    processes = options.processes or companions.wanted(spec.method.train.batch_size)
    command = [sys.executable, "-P", "-m", "worker.child", "--spec", str(options.spec), "--processes", "1"]
    if kept is not None:
        command += ["--checkpoints", str(kept)]
    if options.held is not None:
        command += ["--held", str(options.held)]
    with tempfile.TemporaryDirectory(prefix="work-", dir=out) as folder:
        work = Path(folder)
        with companions.started(command, work, processes, out / ERROR):
            ranks.join()
            inputs = _inputs(spec, options, work, reporter)
            return pipeline.compress(spec, inputs, out / MODEL, work, reporter, kept, heard)


def _inputs(spec: JobSpec, options: argparse.Namespace, work: Path, reporter: "Reporter") -> "Inputs":
    from jobs import held_models
    from worker import fetch

    def tell(commit: str, files: list[held_models.HeldFile]) -> None:
        reporter.kept(commit, held_models.as_json(files))

    held = held_models.of_json(json.loads(options.held.read_bytes())) if options.held else []
    return fetch.fetch(spec, work, held, tell if options.keep_base else None)


def _named(error: Exception) -> errors.PruneryError:
    """The error by its name in our tree."""
    if isinstance(error, errors.PruneryError):
        return error
    logger.exception("The job failed.")
    if _is_full_disk(error):
        return errors.OutOfDisk("The worker's disk is full.", hint="Free space under its work folder, or name another.")
    if _is_out_of_gpu_memory(error):
        return errors.OutOfGpuMemory(f"The accelerator's memory is full: {error}", hint=SMALLER)
    if GPU_FAULTS.search(str(error)):
        return errors.GpuFault(f"The accelerator has failed: {error}", hint="Another worker goes on with the job.")
    if _is_out_of_host_memory(error):
        return errors.OutOfHostMemory(f"The machine's memory is full: {error}", hint=SMALLER)
    return errors.PruneryError(f"{type(error).__name__}: {error}", hint="The job's log has the details.")


def _is_full_disk(error: BaseException | None) -> bool:
    """Libraries written in Rust tell it in words only, others wrap it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        if re.search(rf"os error ({errno.ENOSPC}|{errno.EDQUOT})\b", str(error)):
            return True
        error = error.__cause__
    return False


def _is_out_of_gpu_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def _is_out_of_host_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def _write_error(out: Path, error: errors.PruneryError, reporter: "Reporter", spec: JobSpec) -> None:
    content: dict[str, object] = {
        "code": error.code,
        "message": error.detail,
        "hint": error.hint,
        "retryable": error.retryable,
        "phase": reporter.current_phase,
        "step": reporter.current_step,
    }
    if isinstance(error, errors.OutOfGpuMemory | errors.OutOfHostMemory):
        from worker.engine import training

        content["micro_batch_size"] = training.micro_batch(spec.method.train)
    out.mkdir(parents=True, exist_ok=True)
    (out / ERROR).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    # Everything is written: skip the interpreter's farewell, which can hang in a library's threads.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
