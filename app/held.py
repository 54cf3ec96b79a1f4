"""A look at models whose files lie in our own object storage."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import registry
from app.deps import Door
from app.pointers import at
from jobs import database, held_models
from jobs.errors import BaseModelNotFound, NotFound
from jobs.files import Files, blob_key
from jobs.held_models import HeldFile
from jobs.revisions import MAIN
from jobs.sources import HubModel, RegistryModel

AWAY = (*database.OUTAGES, PoolTimeout)

logger = logging.getLogger(__name__)


class HeldFolder:
    """The files of a model, each under its hash."""

    def __init__(self, files: Files, held: list[HeldFile]) -> None:
        self._files = files
        self._held = {file.path: file for file in held}

    def names(self) -> list[str]:
        return list(self._held)

    def read(self, name: str, limit: int) -> bytes:
        return self._files.read(blob_key(self._held[name].sha256), limit)


def copy(source: HubModel, door: Door) -> HeldFolder | None:
    """Of this very commit, if there is one."""
    try:
        with door.sessions() as session:
            found = held_models.files(session, source)
    except AWAY as error:  # `prunery plan` has no database
        logger.info("whether %s is held here is not known: %s", source.id, error)
        return None
    return HeldFolder(door.files, found) if found else None


def newest(source: HubModel, door: Door) -> HubModel:
    """The model at the commit whose copy came last, if there is one."""
    try:
        with door.sessions() as session:
            commit = held_models.newest_commit(session, source.id)
    except AWAY:
        return source
    return source.model_copy(update={"revision": commit})


def of_registry(source: RegistryModel, door: Door, project_id: str) -> tuple[RegistryModel, HeldFolder]:
    """The model at the commit that its revision stands for now.

    Raises:
        BaseModelNotFound: the project may read no such model, or it has no such revision.
    """
    namespace, _, name = source.id.partition("/")
    with door.sessions() as session:
        with at("/id"), _as_base_model():
            model = registry.model(session, namespace, name, project_id=project_id)
        with at("/revision"), _as_base_model():
            commit = registry.resolve(session, model.id, source.revision or MAIN)
        pinned = source.model_copy(update={"revision": commit})
        return pinned, HeldFolder(door.files, held_models.files(session, pinned))


@contextmanager
def _as_base_model() -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise BaseModelNotFound(error.detail, hint=error.hint) from error
