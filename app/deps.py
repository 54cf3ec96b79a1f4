"""What the routes are given."""

from dataclasses import dataclass, field
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from app.changes import Changes
from app.incoming import Incoming
from app.metrics import Metrics
from app.rate_limits import Counter
from app.readiness import Readiness
from jobs import database
from jobs.egress import Egress
from jobs.files import Files
from jobs.sealing import Seal
from jobs.settings import Settings

UPLOADS_AT_ONCE = 2


@dataclass(frozen=True)
class Door:
    """All that a process of the API holds open."""

    settings: Settings
    engine: Engine
    sessions: sessionmaker[Session]
    files: Files
    changes: Changes
    requests: Counter
    metrics: Metrics
    readiness: Readiness
    egress: Egress
    seal: Seal
    incoming: Incoming
    # Each upload keeps a thread and one part in memory; more of them wait, unread, at their sockets.
    uploads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(UPLOADS_AT_ONCE))


def open_door(settings: Settings) -> Door:
    """Connects to nothing yet."""
    engine = database.engine(settings)
    files = Files(settings, settings.s3_public_endpoint)
    sessions = database.sessions(engine)
    return Door(
        settings,
        engine,
        sessions,
        files,
        Changes(engine, sessions),
        Counter(settings),
        Metrics(sessions),
        Readiness(settings, engine, files),
        Egress(settings),
        Seal(settings.encryption_keys),
        Incoming(files),
    )


async def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


DoorDep = Annotated[Door, Depends(_door)]
