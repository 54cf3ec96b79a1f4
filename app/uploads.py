"""Uploads that may take several requests. Never commits."""

from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from jobs.errors import NotFound, OffsetMismatch
from jobs.registry_tables import ModelRow, RevisionFileRow
from jobs.upload_tables import UploadRow


def find(session: Session, sha256: str, *, project_id: str) -> UploadRow | None:
    """The project's upload of this content, if there is one."""
    query = select(UploadRow).where(UploadRow.project_id == project_id, UploadRow.sha256 == sha256)
    return session.scalars(query).one_or_none()


def get(session: Session, upload_id: str, *, project_id: str) -> UploadRow:
    """
    Raises:
        NotFound: the project has no such upload.
    """
    row = session.get(UploadRow, upload_id)
    if row is None or row.project_id != project_id:
        raise NotFound(f"There is no upload {upload_id!r}.", hint="POST /v1/uploads begins one.")
    return row


def has(session: Session, sha256: str, size: int, *, project_id: str) -> bool:
    """Whether a model of the project has this content already."""
    query = (
        select(RevisionFileRow.path)
        .join(ModelRow, ModelRow.id == RevisionFileRow.model_id)
        .where(RevisionFileRow.sha256 == sha256, RevisionFileRow.bytes == size)
        .where(ModelRow.project_id == project_id, ModelRow.deleted_at.is_(None))
    )
    return session.scalar(query.limit(1)) is not None


def add(session: Session, *, storage_id: str | None, **values: Any) -> UploadRow | None:
    """A new upload, complete if nothing has to be sent; None if another request has just begun the same."""
    if storage_id is None:
        values |= {"offset": values["bytes"], "completed_at": func.now()}
    values["storage_id"] = storage_id or ""
    return session.scalars(insert(UploadRow).values(values).on_conflict_do_nothing().returning(UploadRow)).one_or_none()


def advance(session: Session, row: UploadRow, offset: int, etag: str) -> UploadRow:
    """Note a further part, after those that the row tells of.

    Raises:
        OffsetMismatch: another request was quicker.
    """
    statement = (
        update(UploadRow)
        .where(UploadRow.id == row.id, UploadRow.offset == row.offset, UploadRow.completed_at.is_(None))
        .values(offset=offset, etags=func.array_append(UploadRow.etags, etag), touched_at=func.now())
        .returning(UploadRow)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    moved = session.scalars(statement).one_or_none()
    if moved is None:
        raise OffsetMismatch("Another request sends the same upload.", hint="Ask for its offset, and go on from there.")
    return moved


def forget(session: Session, upload_id: str) -> None:
    """If it is there."""
    session.execute(delete(UploadRow).where(UploadRow.id == upload_id))


def complete(session: Session, upload_id: str) -> UploadRow:
    """The content lies under its hash now.

    Raises:
        NotFound: the upload was discarded meanwhile.
    """
    row = session.get(UploadRow, upload_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound(f"There is no upload {upload_id!r} any more.")
    row.completed_at = row.completed_at or func.now()
    session.flush()
    session.refresh(row)
    return row
