"""Deletes what nobody needs any more: `python -m worker.collect [--dry-run]`. The relay does it by itself, seldom."""

import argparse
import json
import logging
import sys
import threading
from collections.abc import Iterable

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, sessionmaker

from jobs import database, logs
from jobs.errors import StorageUnavailable
from jobs.files import Files, OldObject
from jobs.settings import Settings, load
from worker import history
from worker.sweep import Sweep

# Held while one collects, so that no other does the same.
LOCK = 0xC0_11EC

Gone = dict[str, dict[str, int]]

_log = logging.getLogger(__name__)


def collect(engine: Engine, settings: Settings, *, dry: bool = False) -> Gone | None:
    """What was deleted (or would be), by kind; None if another process is at it."""
    sessions = database.sessions(engine)
    with engine.connect() as connection:
        if not connection.scalar(select(func.pg_try_advisory_lock(LOCK))):
            return None
        # The lock is the connection's: no transaction stays open for hours.
        connection.commit()
        try:
            return _rows(sessions, settings, dry=dry) | _objects(sessions, settings, dry=dry)
        finally:
            connection.execute(select(func.pg_advisory_unlock(LOCK)))


def run(settings: Settings, stop: threading.Event) -> None:
    """Collect again and again until `stop` is set."""
    engine = database.engine(settings)
    while not stop.wait(settings.collect_seconds):
        try:
            gone = collect(engine, settings)
        except (*database.OUTAGES, StorageUnavailable) as error:
            _log.warning("What nobody needs any more stays until the next time: %s", error)
        except Exception:
            # Bells must be rung whatever is wrong here.
            _log.exception("What nobody needs any more could not be deleted")
        else:
            for kind, counts in (gone or {}).items():
                if counts["count"]:
                    _log.info("%d %s were deleted, as nobody needs them any more", counts["count"], kind)
    engine.dispose()


def _rows(sessions: sessionmaker[Session], settings: Settings, *, dry: bool) -> Gone:
    gone: Gone = {}
    for kind, step in history.steps(settings, dry=dry).items():
        count = 0
        while True:
            with sessions.begin() as session:
                done = step(session)
            count += done
            if dry or not done:
                break
        gone[kind] = {"count": count}
    return gone


def _objects(sessions: sessionmaker[Session], settings: Settings, *, dry: bool) -> Gone:
    sweep = Sweep(sessions, Files(settings), settings, dry=dry)
    return {
        "contents": _sum(sweep.contents()),
        "uploads": _sum(sweep.uploads()),
        "remains of attempts": _sum(sweep.attempts()),
        "unfinished uploads": {"count": sweep.broken_off()},
    }


def _sum(entries: Iterable[OldObject]) -> dict[str, int]:
    count = size = 0
    for entry in entries:
        count, size = count + 1, size + entry.bytes
    return {"count": count, "bytes": size}


def main() -> None:
    parser = argparse.ArgumentParser(description="Delete what nobody needs any more.")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    dry = parser.parse_args().dry_run
    settings = load()
    logs.install(settings)
    engine = database.engine(settings)
    gone = collect(engine, settings, dry=dry)
    engine.dispose()
    if gone is None:
        sys.exit("another process is deleting at this moment")
    sys.stdout.write(json.dumps(gone, indent=2) + "\n")


if __name__ == "__main__":
    main()
