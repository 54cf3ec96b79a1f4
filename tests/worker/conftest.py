from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from jobs.settings import Settings
from tests.worker.desk import Desk
from tests.worker.elsewhere import Elsewhere


@pytest.fixture
def desk(sessions: sessionmaker[Session]) -> Desk:
    return Desk(sessions)


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "heartbeat_seconds": 0.3,
            "cancel_grace_seconds": 0.5,
            "checkpoint_grace_seconds": 5.0,
            "retry_seconds": 0.0,
        }
    )


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """Where children write their process ids."""
    return tmp_path / "started"


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    elsewhere = Elsewhere()
    yield elsewhere
    elsewhere.join()
