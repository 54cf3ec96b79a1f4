"""The way to the rows and files of a running stack, past its API."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session, sessionmaker

from cli.stack import Stack
from jobs import database
from jobs.settings import Settings


def settings_of(stack: Stack) -> Settings:
    fields = {name.removeprefix("PRUNERY_").lower(): value for name, value in stack.servers.settings().items()}
    return Settings.model_validate(fields)


@contextmanager
def sessions_of(stack: Stack) -> Iterator[sessionmaker[Session]]:
    engine = database.engine(settings_of(stack))
    try:
        yield database.sessions(engine)
    finally:
        engine.dispose()
