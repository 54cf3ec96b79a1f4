"""Whether the process lives, and whether it can do its work."""

import logging

from fastapi import APIRouter, Request, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import problems
from app.deps import DoorDep
from app.schemas import Health
from jobs import errors

router = APIRouter(tags=["health"])
logger = logging.getLogger(__name__)


@router.get("/healthz", responses={}, openapi_extra={"security": []})
async def healthz() -> Health:
    """The process lives; says nothing of what it depends on."""
    return Health()


@router.get("/readyz", response_model=Health, responses=problems.responses(), openapi_extra={"security": []})
def readyz(request: Request, door: DoorDep) -> Health | Response:
    """The database and object storage answer. The queue may be down: jobs are then accepted and wait."""
    silent = [name for name, answers in (("database", _database), ("object storage", _storage)) if not answers(door)]
    if silent:
        return problems.answer(request.scope, errors.StorageUnavailable(f"Not answering: {', '.join(silent)}."))
    return Health()


def _database(door: DoorDep) -> bool:
    try:
        with door.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        logger.warning("the database does not answer: %s", error)
        return False
    return True


def _storage(door: DoorDep) -> bool:
    try:
        door.files.ensure_bucket()
    except errors.StorageUnavailable as error:
        logger.warning("%s", error)
        return False
    return True
