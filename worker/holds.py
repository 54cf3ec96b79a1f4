"""Which contents must not be swept away although no revision names them yet. Never commits.

A worker that finds a content in object storage does not send it again. Between its look and the row that makes the
content a revision's, a sweep could take the content away. So the worker first says what it needs (`hold`), and commits
that; only then it looks. A sweep deletes under a lock that excludes whoever says so, after a look at what was said.
What was said before the sweep looked is kept; what is said afterwards finds the content missing, and brings it again.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import func, select, union
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from jobs.held_models import HubCopyFileRow
from jobs.registry_tables import RevisionFileRow
from jobs.states import FINAL
from jobs.tables import HoldRow, JobRow
from jobs.upload_tables import UploadRow

# Any number that nothing else in this database locks.
LOCK = 0x5_7EE9


def hold(session: Session, job_id: str, sha256s: Collection[str]) -> None:
    """Keep these contents for as long as the job has not ended; waits while a sweep deletes."""
    session.execute(select(func.pg_advisory_xact_lock_shared(LOCK)))
    if sha256s:
        rows = [{"job_id": job_id, "sha256": sha256} for sha256 in sorted(set(sha256s))]
        session.execute(insert(HoldRow).values(rows).on_conflict_do_nothing())


def exclude_others(session: Session) -> None:
    """Have nobody say what they need until the end of this transaction."""
    session.execute(select(func.pg_advisory_xact_lock(LOCK)))


def needed(session: Session, sha256s: Sequence[str]) -> set[str]:
    """Those of the contents that belong to a revision or to a copy of a hub model, or are to be published by a job."""
    held = (
        select(HoldRow.sha256)
        .join(JobRow, JobRow.id == HoldRow.job_id)
        .where(HoldRow.sha256.in_(sha256s), JobRow.status.not_in(FINAL))
    )
    published = select(RevisionFileRow.sha256).where(RevisionFileRow.sha256.in_(sha256s))
    copied = select(HubCopyFileRow.sha256).where(HubCopyFileRow.sha256.in_(sha256s))
    sent = select(UploadRow.sha256).where(UploadRow.sha256.in_(sha256s), UploadRow.completed_at.is_not(None))
    return set(session.scalars(union(published, copied, sent, held)))
