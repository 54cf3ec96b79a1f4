"""The way to the database. Whoever opens a transaction also ends it: routes, runner and relay."""

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from jobs import meters
from jobs.settings import Settings

# A database host that vanishes without a word must not hold a heartbeat for the kernel's default of many minutes.
CONNECTION = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "prunery",
    "options": "-c timezone=UTC",
}

# What an unreachable, restarting or failing-over database raises; a wrong statement raises something else.
OUTAGES = (OperationalError, InterfaceError, InternalError)


# Few: threads of one interpreter that compute at once only hold each other up. All that are made are kept: each costs
# the server a process that has to learn the tables anew.
CONNECTIONS = 6


def engine(settings: Settings) -> Engine:
    """Connections made on demand and tested before each use. One engine per process: it must not cross a fork."""
    return create_engine(
        settings.database_url.get_secret_value(),
        pool_pre_ping=True,
        pool_size=CONNECTIONS,
        max_overflow=0,
        connect_args=CONNECTION,
    )


def sessions(engine: Engine) -> sessionmaker[Session]:
    """`with sessions.begin() as session:` is one transaction; rows stay readable after it."""
    made = sessionmaker(engine, expire_on_commit=False)
    event.listen(made, "before_commit", meters.write)
    event.listen(made, "after_rollback", meters.forget)
    return made
