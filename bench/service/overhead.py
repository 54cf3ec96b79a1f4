"""What it costs that a job goes through the service: the same one with `prunery compress` and through the API."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figure import Figure
from bench.service import orders
from bench.service.caller import Caller
from cli.stack import Stack
from cli.stack.ports import free_block

STEPS, ALL_STEPS = 1000, 4000
TIMES = 3
JOB_SECONDS = 1800.0
SETTINGS = {"PRUNERY_LOCAL_ROOTS": '["/"]'}
ALLOWED_SECONDS, ALLOWED_SHARE = 5.0, 0.02


def measure(folder: Path) -> Iterator[Figure]:
    """In turn on one machine, so that both have the same neighbours; the quickest of each counts."""
    steps = ALL_STEPS if os.environ.get("ALL") == "1" else STEPS
    spec = orders.prepare(folder / "material").order(0, steps=steps).spec
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps(spec))
    alone, served = [], []
    with (
        Stack(folder / "service", port=free_block(1)[0], settings=SETTINGS) as stack,
        Caller(stack.url, stack.api_key) as caller,
    ):
        for number in range(TIMES):
            alone.append(_alone(recipe, folder / f"alone-{number}"))
            served.append(_served(caller, spec))
    print(f"Seconds alone: {_told(alone)}; through the service: {_told(served)}", flush=True)
    bar = ALLOWED_SECONDS + ALLOWED_SHARE * min(alone)
    yield Figure("service_overhead", min(served) - min(alone), "s", bar)


def _alone(recipe: Path, out: Path) -> float:
    began = time.monotonic()
    command = [sys.executable, "-m", "cli", "compress", str(recipe), "--out", str(out)]
    # As the stack starts its own, see `cli.stack.environment`.
    subprocess.run(command, check=True, capture_output=True, env={"OMP_WAIT_POLICY": "PASSIVE"} | os.environ)
    return time.monotonic() - began


def _served(caller: Caller, spec: dict[str, Any]) -> float:
    began = time.monotonic()
    job = caller.wait(caller.submit(spec)["id"], seconds=JOB_SECONDS)
    if job["status"] != "succeeded":
        raise AssertionError(f"The job {job['status']}: {job['error']}")
    return time.monotonic() - began


def _told(seconds: list[float]) -> str:
    return ", ".join(f"{each:.1f}" for each in seconds)
