"""Bodies that describe no job, of every kind that is easily made: each is refused, and nothing of them is stored."""

import copy
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, select

from bench.figure import Figure
from bench.service import orders
from bench.service.caller import JOBS
from bench.service.clients import Calls, Client
from bench.service.rows import sessions_of
from cli.stack import Stack
from cli.stack.ports import free_block
from jobs.specs import JobSpec
from jobs.tables import JobRow, OutboxRow

BODIES = 10_000
SEED = 20
SETTINGS = {"PRUNERY_LOCAL_ROOTS": '["/"]', "PRUNERY_RATE_LIMIT_REQUESTS": "0"}

NOISE: list[Any] = [
    None, True, -1, 0, 2**63, 10**400, -1e308, 0.5, "", "\0", "\ud800", "a" * 5000, "../../etc/passwd", "' OR 1=1 --",
    [], [[]], [None], {}, {"": ""}, {"type": "lora_prune"}, {"$ref": "#"}, {"__proto__": {}},
]  # fmt: skip


def measure(folder: Path) -> Iterator[Figure]:
    """Of one seed, which SEED in the environment chooses."""
    chance = random.Random(int(os.environ.get("SEED", SEED)))
    spec = orders.prepare(folder / "material").order(0).spec
    calls = Calls()
    with Stack(folder / "service", port=free_block(1)[0], workers=0, settings=SETTINGS) as stack:
        client = Client(stack, calls)
        for _ in range(BODIES):
            client.call("malformed", "POST", JOBS, malformed(spec, chance))
        with sessions_of(stack) as sessions, sessions() as session:
            stored = sum(session.scalar(select(func.count()).select_from(table)) or 0 for table in (JobRow, OutboxRow))
    print(f"Answers to {BODIES} malformed bodies: {dict(calls.statuses)}", flush=True)
    yield Figure("malformed_server_errors", calls.refused_by_faults, "answers", 0)
    yield Figure("malformed_accepted", calls.statuses[202] + calls.statuses[200], "answers", 0)
    yield Figure("malformed_stored", stored, "rows", 0)


def malformed(spec: dict[str, Any], chance: random.Random) -> bytes:
    """A body near to a sound one that is none: broken as JSON, or by the words of the job's own description."""
    whole = json.dumps(spec).encode()
    match chance.randrange(4):
        case 0:
            return whole[: chance.randrange(len(whole))]
        case 1:
            place = chance.randrange(len(whole))
            broken = whole[:place] + chance.randbytes(chance.randrange(1, 9)) + whole[place + 1 :]
        case _:
            broken = json.dumps(_mutated(spec, chance)).encode()
    try:
        JobSpec.model_validate_json(broken)
    except ValidationError:
        return broken
    return malformed(spec, chance)


def _mutated(spec: dict[str, Any], chance: random.Random) -> Any:
    """The same with one to three of its values replaced, dropped or joined by others."""
    changed: dict[str, Any] = copy.deepcopy(spec)
    for _ in range(chance.randrange(1, 4)):
        holder = chance.choice(list(_objects(changed)))
        key = chance.choice([*holder, "unknown", "", "ratio "])
        if key in holder and chance.random() < 0.3:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(chance.choice(NOISE))
    return changed if chance.random() < 0.95 else chance.choice(NOISE)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from _objects(member)
