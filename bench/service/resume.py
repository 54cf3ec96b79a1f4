"""Whether a job whose worker is killed at a random step comes to the same model as one that is left alone."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figure import Figure
from bench.service import chaos, faults, orders
from bench.service.caller import JOBS, Caller, Json
from cli.stack import Stack
from cli.stack.family import descendants
from cli.stack.ports import free_block

TIMES, ALL_TIMES = 3, 10
JOB_SECONDS = 1800.0


def measure(folder: Path) -> Iterator[Figure]:
    """The same job over and over, with one seed; the first time in peace."""
    spec = orders.prepare(folder / "material").order(0).spec
    times = ALL_TIMES if os.environ.get("ALL") == "1" else TIMES
    chance = random.Random(int(os.environ.get("SEED", chaos.SEED)))
    with (
        Stack(folder / "service", port=free_block(1)[0], workers=2, settings=chaos.SETTINGS) as stack,
        Caller(stack.url, stack.api_key) as caller,
    ):
        whole = _model(caller, caller.submit(spec)["id"])
        broken = [_broken(stack, caller, spec, chance.randrange(1, orders.STEPS)) for _ in range(times)]
    differing = sum(report["kept"] != whole["kept"] for report in broken)
    yield Figure("resume_other_units", differing, "jobs", 0)
    perplexity = whole["pruned"]["perplexity"]
    off = [100 * abs(report["pruned"]["perplexity"] / perplexity - 1) for report in broken]
    print(f"Perplexity {perplexity:.4f} unbroken; of the broken ones off by {off} %", flush=True)
    yield Figure("resume_perplexity_off", max(off), "%", 0.5)


def _broken(stack: Stack, caller: Caller, spec: dict[str, Any], step: int) -> Json:
    """The report of a job whose worker was killed as soon as it was seen at the step, or beyond."""
    job_id = caller.submit(spec)["id"]
    while ((job := caller.get(job_id))["progress"] or {}).get("step", 0) < step and job["status"] != "succeeded":
        time.sleep(0.1)
    at_work = [part for part in stack.workers if _has_engine(stack, part)]
    for part in at_work:
        os.kill(stack.processes[part].pid, signal.SIGKILL)
        stack.restart(part)
    print(f"Killed {', '.join(at_work)} at step {job['progress']['step']}", flush=True)
    report = _model(caller, job_id)
    attempts = caller.get(job_id)["attempt"]
    if attempts < 2:
        raise AssertionError(f"{job_id} was over before its worker was killed; nothing was measured")
    return report


def _has_engine(stack: Stack, part: str) -> bool:
    return bool(set(faults.engines(stack)) & set(descendants(stack.processes[part].pid)))


def _model(caller: Caller, job_id: str) -> Json:
    """The report of the job's model, once it has succeeded."""
    job = caller.wait(job_id, seconds=JOB_SECONDS)
    if job["status"] != "succeeded":
        raise AssertionError(f"The job {job['status']}: {job['error']}")
    return caller.read(f"{JOBS}/{job_id}/artifacts/compression_report.json")
