"""Publications that are killed at random points: whatever is visible afterwards is whole.

`python -m bench.hub.cuts FOLDER ROUNDS` does it in the service of the environment, and prints what was found.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select

from app import registry
from bench import published
from bench.figure import Figure
from bench.service.audit import is_whole
from cli.stack.servers import Servers
from jobs import database
from jobs.files import Files
from jobs.registry_tables import RevisionRow
from jobs.revisions import commit_of
from jobs.settings import Settings, load

ROUNDS = 10
SEED = 5
WEIGHTS_BYTES = 24 * 2**20  # several parts of an upload


class Found(NamedTuple):
    """After all rounds."""

    cut: int
    """Publications that were killed before their end."""
    whole: int
    """Visible revisions with every file that they are made of."""
    half: int
    """Others."""


def measure(folder: Path) -> Iterator[Figure]:
    """In a process of its own, which has no threads and may fork."""
    with Servers(folder / "servers") as servers:
        variables = os.environ | servers.settings("postgres") | {"PRUNERY_WORK_DIR": str(folder / "work")}
        _run(["-m", "migrations"], variables)
        _run(["-m", "bench.hub.cuts", str(folder), str(ROUNDS)], variables)
    found = Found(*map(int, (folder / "found").read_text().split()))
    yield Figure("hub_cuts_before_the_end", found.cut, f"of {ROUNDS}", 1, at_least=True)
    yield Figure("hub_half_revisions_after_cuts", found.half, f"of {ROUNDS}", 0)


def cut(settings: Settings, folder: Path, rounds: int) -> Found:
    """Publish something new in each round but the first, in a child that is killed on its way."""
    chance = random.Random(SEED)
    files = Files(settings)
    files.ensure_bucket()
    model = folder / "model"
    model.mkdir()
    began = time.monotonic()
    _fill(model)
    assert _publish_in_child(settings, model, None)
    seconds = time.monotonic() - began
    cuts = 0
    for _ in range(rounds):
        _fill(model)
        cuts += not _publish_in_child(settings, model, chance.uniform(0, seconds))
    return _look(settings, files, cuts)


def _fill(model: Path) -> None:
    (model / "model.safetensors").write_bytes(os.urandom(WEIGHTS_BYTES))
    (model / "config.json").write_text(f'{{"made": "{os.urandom(8).hex()}"}}')
    (model / "tokenizer.json").write_bytes(os.urandom(2**20))


def _publish_in_child(settings: Settings, model: Path, seconds: float | None) -> bool:
    """Whether it came to its end, before it was killed after so many seconds."""
    child = os.fork()
    if child == 0:
        try:
            published.job(settings, model)
            os._exit(0)
        finally:
            os._exit(1)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == 0


def _look(settings: Settings, files: Files, cuts: int) -> Found:
    whole = half = 0
    engine = database.engine(settings)
    with database.sessions(engine)() as session:
        for revision in session.scalars(select(RevisionRow)):
            rows = registry.files(session, revision)
            if commit_of(rows) == revision.commit and all(is_whole(files, row) for row in rows):
                whole += 1
            else:
                half += 1
    engine.dispose()
    return Found(cuts, whole, half)


def _run(arguments: list[str], variables: dict[str, str]) -> None:
    if os.spawnve(os.P_WAIT, sys.executable, [sys.executable, *arguments], variables):
        raise RuntimeError(f"{' '.join(arguments)} failed")


def main() -> None:
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    found = cut(load(), folder, rounds)
    (folder / "found").write_text(" ".join(map(str, found)))
    print(f"{found.cut} of {rounds} cut; {found.whole} revisions whole, {found.half} half")


if __name__ == "__main__":
    main()
