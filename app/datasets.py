"""Whether the text of a job is there, from outside: nothing of it is read but its size."""

import stat
from pathlib import PurePath
from typing import assert_never

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import hub, local_paths, storage_places, store, texts
from app.deps import Door
from app.pointers import at
from jobs import errors
from jobs.sources import DataSource, FileData, HubData, LocalData, S3Data
from jobs.specs import JobSpec
from jobs.tables import FileRow


def check(source: DataSource, door: Door, project_id: str, *, window: int) -> None:
    """`window`: tokens that the text must fill at least once.

    Raises:
        DatasetError: with a pointer below the source.
    """
    match source:
        case FileData(id=id):
            with at("/id"):
                name, size = _uploaded(id, door, project_id)
        case LocalData(path=name):
            with at("/path"):
                size = _local_bytes(name, door)
        case S3Data(uri=name):
            with at("/uri"):
                size = _s3_bytes(name, door)
        case HubData(id=id, revision=revision):
            hub.check_dataset(id, revision)
            return
        case _:
            assert_never(source)
    if size == 0:
        raise errors.DatasetEmpty(f"{name} is empty.")
    # A tokenizer makes at most one token of a byte, and puts at most two before the text.
    if _is_plain(name) and size + 2 < window:
        raise errors.DatasetTooShort(
            f"{name} has {size} bytes, which cannot fill one window of {window} tokens.",
            hint="Give more text or a shorter sequence_length.",
        )


def hold(session: Session, spec: JobSpec, project_id: str) -> None:
    """Keep the uploaded files that a job names from being removed until this transaction has ended.

    Raises:
        DatasetNotFound: one was removed since it was looked at.
    """
    named = {source.id: place for place, source in spec.texts.items() if isinstance(source, FileData)}
    if not named:
        return
    query = select(FileRow.id).where(FileRow.id.in_(named), FileRow.project_id == project_id).order_by(FileRow.id)
    there = set(session.scalars(query.with_for_update(read=True, key_share=True)))
    for id in named.keys() - there:
        with at(f"{named[id]}/id"):
            raise _not_uploaded(id)


def _not_uploaded(id: str) -> errors.DatasetNotFound:
    return errors.DatasetNotFound(f"There is no uploaded file {id!r}.", hint="Upload one with POST /v1/files.")


def _uploaded(id: str, door: Door, project_id: str) -> tuple[str, int]:
    with door.sessions() as session:
        try:
            row = store.file(session, id, project_id=project_id)
        except errors.NotFound as error:
            raise _not_uploaded(id) from error
    return row.name, row.bytes


def _local_bytes(name: str, door: Door) -> int:
    try:
        found = local_paths.allowed(name, door.settings.local_roots).stat()
    except local_paths.NotAllowed as error:
        raise errors.DatasetNotFound(str(error)) from error
    except OSError as error:
        raise errors.DatasetNotFound(f"{name} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(found.st_mode):
        raise errors.DatasetNotFound(f"{name} is not a file.", hint="Name one text or JSONL file.")
    return found.st_size


def _s3_bytes(uri: str, door: Door) -> int:
    try:
        bucket, key = storage_places.allowed(uri, door.files.bucket)
    except storage_places.NotAllowed as error:
        raise errors.DatasetNotFound(str(error)) from error
    size = door.files.size(key, bucket)
    if size is None:
        raise errors.DatasetNotFound(f"There is no object {uri}.", hint="Name one text or JSONL object.")
    return size


def _is_plain(name: str) -> bool:
    return not texts.has_rows(name) and PurePath(name).suffix.lower() != ".json"
