"""Jobs and files that their owner does not want any more. Never commits.

The rows go at once, and with them every way to the bytes; those are collected later, see `worker.collect`.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import store, verbs
from jobs import references
from jobs.errors import FileInUse, NotFound, StateConflict
from jobs.states import FINAL, Status
from jobs.tables import FileRow, JobRow

NAMED = 5


def remove_job(session: Session, job_id: str, *, project_id: str) -> JobRow:
    """Forget a job that has ended, with its events and checkpoints; what it has published stays, in its model.

    Raises:
        NotFound: there is no such job.
        StateConflict: it has not ended.
    """
    store.get(session, job_id, project_id=project_id)
    row = session.get(JobRow, job_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound(f"There is no job {job_id!r}.")
    status = Status(row.status)
    if status not in FINAL:
        detail = f"Job {job_id} is {status}; only a job that has ended can be deleted."
        raise StateConflict(detail, allowed=verbs.possible(row))
    session.delete(row)
    return row


def remove_file(session: Session, file_id: str, *, project_id: str) -> FileRow:
    """Forget an uploaded file.

    Raises:
        NotFound: there is no such file.
        FileInUse: a job that has not ended may still read it.
    """
    store.file(session, file_id, project_id=project_id)
    row = session.get(FileRow, file_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound(f"There is no file {file_id!r}.")
    query = (
        select(JobRow.id)
        .join(FileRow, FileRow.project_id == JobRow.project_id)
        .where(FileRow.id == file_id, JobRow.status.not_in(FINAL), references.names(FileRow.id))
    )
    users = session.scalars(query.limit(NAMED)).all()
    if users:
        raise FileInUse(f"{file_id} is needed by {', '.join(users)}.", hint="Wait for the job to end, or cancel it.")
    session.delete(row)
    return row
