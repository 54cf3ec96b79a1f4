from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from jobs import database
from jobs.settings import Settings
from jobs.specs import JobSpec


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = database.engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    return database.sessions(engine)


@pytest.fixture
def spec() -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "small and Ünïcode",
            "base_model": {"source": "hub", "id": "HuggingFaceTB/SmolLM2-135M"},
            "dataset": {"source": "file", "id": "file_1"},
            "method": {"type": "lora_prune", "ratio": 0.3},
            "metadata": {"team": "nlp"},
        }
    )
