"""Jobs on a whole service while one of its parts is always being killed, stopped or ended."""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from bench.figure import Figure
from bench.service import audit, faults, orders
from bench.service.caller import Caller
from bench.service.faults import Fault
from bench.service.orders import Order
from bench.service.rows import sessions_of, settings_of
from cli.stack import Stack
from cli.stack.failures import PartFailed
from cli.stack.ports import free_block
from jobs.files import Files

SEED = 20
JOBS, ALL_JOBS = 25, 200
WAITING, ALL_WAITING = 10, 50
CUSTOMERS = 6
PAUSE_SECONDS = (2.0, 5.0)
JOB_SECONDS = 1500.0
SETTLE_SECONDS = 60.0

SETTINGS = {
    "PRUNERY_RATE_LIMIT_REQUESTS": "0",
    "PRUNERY_LOCAL_ROOTS": '["/"]',
    "PRUNERY_LEASE_SECONDS": "6",
    "PRUNERY_HEARTBEAT_SECONDS": "1",
    "PRUNERY_REAP_SECONDS": "1",
    "PRUNERY_PULL_SECONDS": "5",
    "PRUNERY_RETRY_SECONDS": "1",
    "PRUNERY_CHECKPOINT_GRACE_SECONDS": "5",
    # What is held here is that nothing is lost, not when one gives up.
    "PRUNERY_MAX_ATTEMPTS": "1000",
    "PRUNERY_MAX_FREE_ATTEMPTS": "1000",
}


@dataclass
class Round:
    """What was done to the service, and what became known of it meanwhile."""

    struck: Counter[str] = field(default_factory=Counter)
    died_alone: list[str] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    given_up: list[str] = field(default_factory=list)
    seconds: float = 0.0


def measure(folder: Path) -> Iterator[Figure]:
    """The round of a seed, which SEED in the environment chooses; with ALL=1 in its full length."""
    everything = os.environ.get("ALL") == "1"
    material = orders.prepare(folder / "material")
    asked = material.mixed(ALL_JOBS if everything else JOBS)
    (port,) = free_block(1)
    with Stack(folder / "service", port=port, workers=2, settings=SETTINGS, announce=print) as stack:
        done = play(stack, asked, random.Random(int(os.environ.get("SEED", SEED))))
        print(f"{len(asked)} jobs in {done.seconds:.0f} s, {done.struck.total()} strokes: {_told(done.struck)}")
        print(f"Answers: {_told(done.answers)}", flush=True)
        yield from figures(stack, asked, done)
        waiting = [material.order(10_000 + number, steps=5) for number in range(ALL_WAITING if everything else WAITING)]
        yield _none("chaos_lost_with_the_broker", "jobs", wiped(stack, waiting))


def play(
    stack: Stack, asked: list[Order], chance: random.Random, *, pause_seconds: tuple[float, float] = PAUSE_SECONDS
) -> Round:
    """Ask for all jobs, a few at a time, and strike until each has ended; then let the service come to rest."""
    done, began = Round(), time.monotonic()
    deck = faults.shuffled(faults.deck(stack), chance)
    with (
        Caller(stack.url, stack.api_key) as caller,
        ThreadPoolExecutor(CUSTOMERS) as customers,
    ):
        waiting = [customers.submit(_see_through, caller, order, random.Random(order.name)) for order in asked]
        # The parts die with the thread that starts them, so it is this one that strikes.
        while not all(each.done() for each in waiting):
            if _strike(next(deck), stack, done, chance):
                time.sleep(chance.uniform(*pause_seconds))
        done.seconds = time.monotonic() - began
        for part in stack.processes:
            _mourn(stack, part, done)
            stack.wait_for(part)
        done.given_up = [repr(error) for each in waiting if (error := each.exception())]
        done.answers = caller.answers
    return done


def figures(stack: Stack, asked: list[Order], done: Round) -> Iterator[Figure]:
    """What the round is held to."""
    with sessions_of(stack) as sessions:
        with sessions() as session:
            yield _none("chaos_wrong_endings", "jobs", audit.endings(session, asked))
            again = audit.trained_again(session, asked)
            print(f"Steps trained again by attempts after the first: {sorted(again)}", flush=True)
            yield Figure("chaos_steps_trained_again", max(again, default=0), "steps", orders.CHECKPOINT_STEPS)
            yield _none("chaos_broken_artifacts", "files", audit.artifacts(session, Files(settings_of(stack)), asked))
        yield _none("chaos_leftovers", "things", left(sessions, stack))
    yield _none("chaos_given_up", "calls", done.given_up)
    yield _none("chaos_died_alone", "processes", done.died_alone)
    yield Figure("chaos_faults_of_ours", done.answers[500], "answers", 0)


def wiped(stack: Stack, asked: list[Order]) -> list[str]:
    """Wipe the broker while these jobs wait, and tell what became of any that did not succeed once."""
    with Caller(stack.url, stack.api_key) as caller:
        jobs = [caller.submit(order.spec)["id"] for order in asked]
        faults.wipe(stack)
        for job_id in jobs:
            caller.wait(job_id, seconds=JOB_SECONDS)
    with sessions_of(stack) as sessions, sessions() as session:
        return audit.endings(session, asked)


def _see_through(caller: Caller, order: Order, chance: random.Random) -> None:
    """Ask for a job and follow it to its end."""
    job_id = caller.submit(order.spec)["id"]
    if order.ending == "cancelled":
        if chance.random() < 0.5:
            caller.wait(job_id, "running", seconds=JOB_SECONDS)
        time.sleep(chance.uniform(0.0, 8.0))
        caller.cancel(job_id)
    caller.wait(job_id, seconds=JOB_SECONDS)


def _strike(fault: Fault, stack: Stack, done: Round, chance: random.Random) -> bool:
    for part in stack.processes:
        _mourn(stack, part, done)
    try:
        struck = fault.strike(stack, chance)
    except PartFailed as failure:
        done.died_alone.append(f"{failure} {failure.hint}")
        return True
    done.struck[fault.name] += struck
    return struck


def _mourn(stack: Stack, part: str, done: Round) -> None:
    """Start a part again that has ended though nobody struck it."""
    if not stack.processes[part].running:
        failure = stack.processes[part].failure()
        done.died_alone.append(f"{failure} {failure.hint}")
        stack.restart(part)


def left(sessions: sessionmaker[Session], stack: Stack) -> list[str]:
    """What is left after some time in which everything may still be cleared away."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        with sessions() as session:
            found = audit.leftovers(session, stack)
        if not found or time.monotonic() > end:
            return found
        time.sleep(1.0)


def _none(name: str, unit: str, found: list[str]) -> Figure:
    for each in found:
        print(f"  {name}: {each}", flush=True)
    return Figure(name, len(found), unit, 0)


def _told(counted: Counter[str] | Counter[int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counted.items(), key=lambda item: str(item[0])))
