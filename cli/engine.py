"""The compression engine as a process of its own, watched through the lines that it writes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from cli.follow import tell
from cli.progress import Display
from cli.resources import Event, JobFailure, Progress
from jobs.specs import JobSpec

# The child looks for it, to end if its parent ended before it could ask the kernel to be told.
SUPERVISOR = "PRUNERY_SUPERVISOR"
TAIL_LINES = 20


class EngineFailed(Exception):
    """The engine ended without a model."""

    def __init__(self, failure: JobFailure, tail: str) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.tail = tail


def run(spec: JobSpec, out: Path, display: Display, checkpoints: Path | None = None) -> dict[str, Any]:
    """Compress a model into the folder `out`, all of it or nothing; the summary of the report.

    Args:
        checkpoints: a folder to keep them in; if it has some, the run goes on from the newest.
    Raises:
        EngineFailed: with the engine's own words.
        OSError: `out` is there and not empty, or cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the last step is a rename on one disk.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        work = Path(folder)
        spec_file, log = work / "spec.json", work / "log.txt"
        spec_file.write_text(spec.model_dump_json(), encoding="utf-8")
        with log.open("wb") as noise:
            code = _run_child(spec_file, work / "out", checkpoints, noise, display)
        succeeded = code == 0
        display.finish(datetime.now(UTC), succeeded=succeeded)
        if not succeeded:
            raise EngineFailed(_failure(work / "out" / "error.json", code), _tail(log))
        result = json.loads((work / "out" / "result.json").read_bytes())
        (work / "out" / result["model_dir"]).rename(out)
        if (variants := work / "out" / "variants").is_dir():
            variants.rename(out / "variants")
        summary: dict[str, Any] = result["summary"]
        return summary


def _run_child(spec_file: Path, out: Path, checkpoints: Path | None, noise: IO[bytes], display: Display) -> int:
    """The exit code; whatever ends this function ends the child and all that it started."""
    events, events_end = os.pipe()
    command = [sys.executable, "-P", "-m", "worker.child", "--spec", str(spec_file), "--out", str(out)]
    if checkpoints is not None:
        command += ["--checkpoints", str(checkpoints)]
    try:
        child = subprocess.Popen(
            [*command, "--events-fd", str(events_end)],
            stdin=subprocess.DEVNULL,
            stdout=noise,
            stderr=noise,
            pass_fds=(events_end,),
            start_new_session=True,
            env=os.environ | {SUPERVISOR: str(os.getpid())},
        )
    finally:
        os.close(events_end)
    try:
        with open(events, encoding="utf-8") as lines:
            for line in lines:
                _tell(display, json.loads(line))
        return child.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _tell(display: Display, said: Mapping[str, Any]) -> None:
    if said["type"] == "progress":
        display.progress(Progress.model_validate(said))
    else:
        data = {key: value for key, value in said.items() if key != "type"}
        tell(display, Event(seq=0, type=said["type"], at=datetime.now(UTC), data=data))


def _failure(file: Path, code: int) -> JobFailure:
    with suppress(FileNotFoundError, ValidationError):  # a full disk leaves half of it
        return JobFailure.model_validate_json(file.read_bytes())
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    hint = "Out of memory? Ask for a smaller batch or sequence length." if code == -signal.SIGKILL else None
    return JobFailure(code="engine_crashed", message=f"The engine ended without a word ({how}).", hint=hint)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])
