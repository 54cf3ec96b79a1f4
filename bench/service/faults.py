"""What can happen to the parts of a running service, one after another in an order that a seed decides."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import redis

from cli.stack import Stack

SERVERS = ("postgres", "valkey", "seaweed")
DOWN_SECONDS = (0.0, 2.0)
STANDSTILL_SECONDS = (1.0, 4.0)

Strike = Callable[[Stack, random.Random], bool]
"""Does its harm, and mends it; False if there was nothing to harm."""


@dataclass(frozen=True)
class Fault:
    """One kind of harm."""

    name: str
    strike: Strike


def worst(stack: Stack) -> list[Fault]:
    """Every part once without warning, an engine, a worker that outlives its lease, and the broker's memory."""
    parts = [part for part in stack.processes if part not in stack.workers]
    return [
        *(Fault(f"kill {part}", partial(_kill, part)) for part in parts),
        *(Fault(f"kill {worker}", partial(_kill_alone, worker)) for worker in stack.workers),
        Fault("kill engine", _kill_engine),
        Fault("stop a worker beyond its lease", _outlive_lease),
        Fault("wipe broker", _wipe),
    ]


def deck(stack: Stack) -> list[Fault]:
    """The worst, and the milder ones: every part stopped for a while, every part ended as it likes to be."""
    return [
        *worst(stack),
        *(Fault(f"stop {part}", partial(_stand_still, part)) for part in stack.processes),
        *(Fault(f"end {part}", partial(_end, part)) for part in stack.processes),
        Fault("stop engine", _stop_engine),
    ]


def shuffled(faults: list[Fault], chance: random.Random) -> Iterator[Fault]:
    """Without end: every kind once in an order of its own, then every kind again."""
    while True:
        yield from chance.sample(faults, len(faults))


def engines(stack: Stack) -> list[int]:
    """The engine processes of this stack, also those whose supervisor is gone."""
    return [pid for pid in _processes() if _is_engine_of(stack, pid)]


def _kill(part: str, stack: Stack, chance: random.Random) -> bool:
    stack.processes[part].kill()
    _rise(part, stack, chance)
    return True


def _kill_alone(part: str, stack: Stack, chance: random.Random) -> bool:
    """The process itself and nothing below it: what it started has to notice by itself."""
    os.kill(stack.processes[part].pid, signal.SIGKILL)
    _rise(part, stack, chance)
    return True


def _end(part: str, stack: Stack, chance: random.Random) -> bool:
    stack.processes[part].stop(grace_seconds=20.0)
    _rise(part, stack, chance)
    return True


def _rise(part: str, stack: Stack, chance: random.Random) -> None:
    time.sleep(chance.uniform(*DOWN_SECONDS))
    stack.restart(part)
    if part in SERVERS:
        # Whoever looks after a server waits for it; our own parts are struck again whether they are ready or not.
        stack.wait_for(part)


def _stand_still(part: str, stack: Stack, chance: random.Random) -> bool:
    process = stack.processes[part]
    process.suspend()
    time.sleep(chance.uniform(*STANDSTILL_SECONDS))
    process.go_on()
    return True


def _kill_engine(stack: Stack, chance: random.Random) -> bool:
    running = engines(stack)
    return bool(running) and _send([chance.choice(running)], signal.SIGKILL)


def _stop_engine(stack: Stack, chance: random.Random) -> bool:
    running = engines(stack)
    if not running:
        return False
    engine = chance.choice(running)
    _send([engine], signal.SIGSTOP)
    time.sleep(chance.uniform(*STANDSTILL_SECONDS))
    return _send([engine], signal.SIGCONT)


def _outlive_lease(stack: Stack, chance: random.Random) -> bool:
    """Have a worker miss its lease while its engine goes on, and then wake up beside its successor."""
    worker = [stack.processes[chance.choice(stack.workers)].pid]
    _send(worker, signal.SIGSTOP)
    time.sleep(1.5 * float(stack.settings["PRUNERY_LEASE_SECONDS"]))
    return _send(worker, signal.SIGCONT)


def _wipe(stack: Stack, chance: random.Random) -> bool:
    wipe(stack)
    return True


def wipe(stack: Stack) -> None:
    """Have the broker forget everything."""
    with redis.Redis.from_url(stack.servers.valkey.url, socket_timeout=5) as broker:
        broker.flushall()


def _send(pids: list[int], number: signal.Signals) -> bool:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return bool(pids)


def _processes() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def _is_engine_of(stack: Stack, pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"worker.child" in command and str(stack.servers.folder.root).encode() in command
