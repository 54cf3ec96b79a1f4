"""Jobs whose worker fell silent, and jobs that no worker has heard of."""

import logging

from sqlalchemy.orm import Session, sessionmaker

from jobs.settings import Settings
from worker import leases

_log = logging.getLogger(__name__)


def reap(sessions: sessionmaker[Session], settings: Settings) -> int:
    """Settle what can be settled now; how many jobs that were. Any number of reapers may do so at once."""
    with sessions.begin() as session:
        touched = leases.reap(session, rering_seconds=settings.rering_seconds)
    if touched:
        _log.info("%d jobs were put back, ended or announced again", touched)
    return touched
