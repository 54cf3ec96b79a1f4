"""Bringing a job's newest whole checkpoint to this machine, so that the engine goes on from there."""

import logging
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from jobs.errors import CheckpointLost
from jobs.files import Files
from worker import depot, saved
from worker.errand import Check, Patience
from worker.leases import Claim

_log = logging.getLogger(__name__)


def restore(
    sessions: sessionmaker[Session], files: Files, claim: Claim, folder: Path, patience_seconds: float, check: Check
) -> int | None:
    """Fetch it into the folder of checkpoints; a broken one is passed over for the one before, and that is told.

    Returns:
        Its number, or None if there is none to go on from.
    Raises:
        StorageUnavailable: the storage did not answer for so long: to begin anew would cost more than to wait.
        CheckpointLost: there is none for a job that only publishes one.
    """
    with sessions.begin() as session:
        rows = saved.usable(session, claim)
    patience, faults, found = Patience(patience_seconds, check), list[str](), None
    for row in rows:
        try:
            patience.insist(partial(depot.fetch, files, row, folder, check))
        except depot.Broken as fault:
            faults.append(f"number {row.number}, {fault}")
            continue
        found = row
        break
    if rows:
        _log.info("%s: goes on from checkpoint %s", claim.job_id, found and found.number)
        with sessions.begin() as session:
            saved.resumed(session, claim, found, faults)
    if found is None and claim.only_publishes:
        raise CheckpointLost(
            f"The checkpoint to publish is broken: {'; '.join(faults) or 'it is not there any more'}.",
            hint="Publish another checkpoint of the job.",
        )
    return None if found is None else found.number
