"""How often a model is downloaded: once for each caller and revision, however many files and tries that takes."""

import hashlib
from collections.abc import Mapping

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.callers import Caller
from app.tables import DownloadRow
from jobs.registry_tables import ModelRow, RevisionFileRow

HEADER = "x-hf-download-counter"


def counts(path: str, headers: Mapping[str, str]) -> bool:
    """Whether somebody who asks for this file wants the model, and not only to look at it.

    Whoever loads one asks for its configuration or a GGUF file; newer clients of the Hub say so themselves.
    """
    return path == "config.json" or path.endswith(".gguf") or headers.get(HEADER) == "1"


def count(session: Session, file: RevisionFileRow, caller: Caller) -> None:
    """One more download of the file's model, unless this caller has had the revision before.

    What is kept of the caller is a hash.
    """
    who = "\0".join((caller.project_id, caller.key_id or caller.key_name, file.commit))
    row = {"model_id": file.model_id, "digest": hashlib.sha256(who.encode()).digest()}
    first = insert(DownloadRow).values(row).on_conflict_do_nothing().returning(DownloadRow.model_id)
    if session.scalars(first).one_or_none() is not None:
        more = update(ModelRow).where(ModelRow.id == file.model_id).values(downloads=ModelRow.downloads + 1)
        session.execute(more, execution_options={"synchronize_session": False})
