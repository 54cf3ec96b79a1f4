"""The way to the rows and files of a running stack, past its API."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session, sessionmaker

from cli.stack import Stack
from jobs import database
from jobs.settings import Settings


def settings_of(stack: Stack) -> Settings:
    variables = stack.servers.settings().items()
    # Lists are written as JSON in the environment.
    fields = {
        name.removeprefix("PRUNERY_").lower(): json.loads(value) if value.startswith("[") else value
        for name, value in variables
    }
    return Settings.model_validate(fields)


@contextmanager
def sessions_of(stack: Stack) -> Iterator[sessionmaker[Session]]:
    engine = database.engine(settings_of(stack))
    try:
        yield database.sessions(engine)
    finally:
        engine.dispose()
