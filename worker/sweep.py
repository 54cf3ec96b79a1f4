"""What lies in object storage and nobody needs any more: found by a look at every object, and younger ones left alone.

Whatever belongs to a row that is not there (any more) goes: contents, uploaded files, what attempts left behind, and
uploads that broke off. A young object may be one whose row is still to be written.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select, union
from sqlalchemy.orm import Session, sessionmaker

from jobs.files import BLOBS, JOBS, UPLOADS, Files, OldObject
from jobs.settings import Settings
from jobs.states import FINAL
from jobs.tables import CheckpointRow, FileRow, JobRow
from jobs.upload_tables import UploadRow
from worker import holds

# So long a worker that wants to publish may have to wait.
BATCH = 200
CHECKPOINTS = "/checkpoints/"


class Sweep:
    """One look at everything."""

    def __init__(self, sessions: sessionmaker[Session], files: Files, settings: Settings, *, dry: bool) -> None:
        """`dry`: only look."""
        self._sessions = sessions
        self._files = files
        self._dry = dry
        with sessions() as session:
            now: datetime = session.scalars(select(func.now())).one()
        self._before = now - timedelta(seconds=settings.orphan_grace_seconds)

    def contents(self) -> Iterator[OldObject]:
        """Published files that are no revision's."""
        for batch in self._batches(BLOBS):
            by_hash = {entry.key.rpartition("/")[2]: entry for entry in batch}
            with self._sessions.begin() as session:
                if not self._dry:
                    holds.exclude_others(session)
                gone = [by_hash[sha256] for sha256 in by_hash.keys() - holds.needed(session, list(by_hash))]
                self._delete(gone)
            yield from gone

    def uploads(self) -> Iterator[OldObject]:
        """Uploaded files that have no row."""
        for batch in self._batches(UPLOADS):
            owners = [_owner(entry, UPLOADS) for entry in batch]
            with self._sessions() as session:
                files = select(FileRow.id).where(FileRow.id.in_(owners))
                sent = select(UploadRow.id).where(UploadRow.id.in_(owners), UploadRow.completed_at.is_(None))
                there = set(session.scalars(union(files, sent)))
            gone = [entry for owner, entry in zip(owners, batch, strict=True) if owner not in there]
            self._delete(gone)
            yield from gone

    def attempts(self) -> Iterator[OldObject]:
        """What is left of jobs that are not there any more, and of checkpoints that nothing can go on from."""
        for batch in self._batches(JOBS):
            owners = [_owner(entry, JOBS) for entry in batch]
            alive = select(CheckpointRow).where(CheckpointRow.job_id == JobRow.id, CheckpointRow.deleted_at.is_(None))
            lent = CheckpointRow.origin_job_id.in_(owners) & CheckpointRow.deleted_at.is_(None)
            with self._sessions() as session:
                query = select(JobRow.id, JobRow.status.in_(FINAL) & ~alive.exists()).where(JobRow.id.in_(owners))
                spent = {id: is_spent for id, is_spent in session.execute(query)}
                lenders = set(session.scalars(select(CheckpointRow.origin_job_id).where(lent)))
            gone = [
                entry
                for owner, entry in zip(owners, batch, strict=True)
                if not (CHECKPOINTS in entry.key and owner in lenders)
                and (owner not in spent or (spent[owner] and CHECKPOINTS in entry.key))
            ]
            self._delete(gone)
            yield from gone

    def broken_off(self) -> int:
        """Uploads in parts that were begun and never ended."""
        count = 0
        with self._sessions() as session:
            going_on = set(session.scalars(select(UploadRow.storage_id).where(UploadRow.completed_at.is_(None))))
        for key, upload_id in self._files.unfinished(self._before):
            if upload_id in going_on:
                continue
            count += 1
            if not self._dry:
                self._files.abort(key, upload_id)
        return count

    def _batches(self, prefix: str) -> Iterator[list[OldObject]]:
        batch: list[OldObject] = []
        for entry in self._files.older(prefix, self._before):
            batch.append(entry)
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _delete(self, gone: Sequence[OldObject]) -> None:
        if not self._dry:
            for entry in gone:
                self._files.delete(entry.key)


def _owner(entry: OldObject, prefix: str) -> str:
    return entry.key.removeprefix(prefix).partition("/")[0]
