"""One row of the table: a job in a process of its own, watched from outside; a finished row is not run again."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import worker.engine
from bench.engine.recipes import Recipe
from bench.memory import resident_peak
from jobs.specs import JobSpec


@dataclass(frozen=True)
class Row:
    """What a job came to, and what it cost.

    `steps` are the CPU seconds that the process had used when each optimizer step was done, `phases` when each phase
    began. The peak is that of the engine's process, in bytes, from its start to the end of training. `engine` is a
    digest of the engine's source.
    """

    summary: dict[str, Any]
    steps: list[float]
    phases: dict[str, float]
    cpu_seconds: float
    peak_bytes: int
    engine: str = ""

    @property
    def perplexity(self) -> float:
        return float(self.summary["pruned"]["perplexity"])

    @property
    def training_seconds(self) -> float:
        """CPU seconds from the first score to the last step."""
        return self.phases["merging"] - self.phases["scoring"]


def run(name: str, recipe: Recipe, results: Path) -> Row:
    """Run the job, or read what it came to when it ran before with the very same recipe.

    Raises:
        CalledProcessError: it failed; its log was printed.
    """
    job = JobSpec.model_validate(recipe)
    spec, bearing = job.model_dump_json(), job.model_dump_json(include=set(recipe))  # not, say, who waits longest
    file = results / f"{name}-{hashlib.sha256(bearing.encode()).hexdigest()[:12]}.json"
    if file.is_file():
        row = Row(**json.loads(file.read_bytes()))
        other = "" if row.engine == _engine() else ", by ANOTHER VERSION of the engine: delete it to run it anew"
        print(f"{name}: from {file}{other}", flush=True)
        return row
    print(f"{name}: running", flush=True)
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="prunery-bench-row-") as folder:
        row = _run(spec, Path(folder))
    written = file.with_suffix(".writing")
    written.write_text(json.dumps(asdict(row), indent=1))
    written.rename(file)  # whole, or not there
    return row


@cache
def _engine() -> str:
    package = Path(worker.engine.__file__).parent
    sources = b"".join(file.read_bytes() for file in sorted(package.rglob("*.py")))
    return hashlib.sha256(sources).hexdigest()[:12]


def _run(spec: str, folder: Path) -> Row:
    # On one thread: processor time is then work alone, and a small model's products gain little by a second one.
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    (folder / "spec.json").write_text(spec)
    events, events_end = os.pipe()
    command = [sys.executable, "-m", "worker.child", "--spec", str(folder / "spec.json"), "--out", str(folder / "out")]
    steps: list[float] = []
    phases: dict[str, float] = {}
    cpu, peak = 0.0, 0
    with (
        (folder / "log.txt").open("wb") as log,
        subprocess.Popen(
            [*command, "--events-fd", str(events_end)], stdout=log, stderr=log, pass_fds=(events_end,), env=alone
        ) as child,
    ):
        os.close(events_end)
        try:
            with open(events, encoding="utf-8") as lines:
                for line in lines:
                    said = json.loads(line)
                    cpu = cpu_seconds(child.pid)
                    if "merging" not in phases:
                        peak = resident_peak(child.pid)
                    if said["type"] == "progress":
                        steps.append(cpu)
                    elif said["type"] == "phase":
                        phases.setdefault(said["phase"], cpu)
        except BaseException:
            child.terminate()
            raise
    if child.returncode != 0:
        print((folder / "log.txt").read_text()[-4000:], flush=True)
        raise subprocess.CalledProcessError(child.returncode, command)
    summary = json.loads((folder / "out" / "result.json").read_bytes())["summary"]
    return Row(summary, steps, phases, cpu, peak, _engine())


def cpu_seconds(pid: int) -> float:
    """Processor time of one process, its threads together; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
