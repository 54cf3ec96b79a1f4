from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from jobs import database
from jobs.settings import Settings
from tests.worker.desk import Desk
from tests.worker.elsewhere import Elsewhere


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = database.engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def desk(engine: Engine) -> Desk:
    return Desk(database.sessions(engine))


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"heartbeat_seconds": 0.3, "cancel_grace_seconds": 0.5})


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """Where children write their process ids."""
    return tmp_path / "started"


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    elsewhere = Elsewhere()
    yield elsewhere
    elsewhere.join()
