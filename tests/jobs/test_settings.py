"""Settings come from the environment, and no secret has a default."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.settings import PLACEHOLDER, S3Settings, Settings

SECRETS = {
    "PRUNERY_DATABASE_URL": "postgresql+psycopg://app:hidden-1@db/prunery",
    "PRUNERY_BROKER_URL": "redis://:hidden-2@broker:6379/0",
    "PRUNERY_API_KEY": "hidden-3",
    "PRUNERY_S3_ACCESS_KEY": "hidden-4",
    "PRUNERY_S3_SECRET_KEY": "hidden-5",
}
PLAIN = {"PRUNERY_S3_ENDPOINT": "http://s3:8333"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PRUNERY_"):
            monkeypatch.delenv(name)
    for name, value in (SECRETS | PLAIN).items():
        monkeypatch.setenv(name, value)


def test_the_environment_is_production_unless_it_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNERY_LOCAL_ROOTS", '["/models", "/texts"]')
    settings = Settings()
    assert settings.environment == "production"
    assert settings.local_roots == (Path("/models"), Path("/texts"))
    assert settings.s3_public_endpoint is None


@pytest.mark.parametrize("name", [*SECRETS, *PLAIN])
def test_nothing_starts_without_its_secrets_and_addresses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ValidationError) as refusal:
        Settings()
    assert "hidden" not in str(refusal.value)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", ["", PLACEHOLDER, f"redis://:{PLACEHOLDER}@broker/0"])
def test_production_starts_with_no_placeholder(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name):
        Settings()
    monkeypatch.setenv("PRUNERY_ENVIRONMENT", "development")
    Settings()


def test_secrets_do_not_show() -> None:
    shown = repr(Settings()) + str(Settings()) + Settings().model_dump_json()
    assert "s3:8333" in shown
    assert "hidden" not in shown


def test_an_engine_is_told_of_the_storage_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PRUNERY_DATABASE_URL", "PRUNERY_BROKER_URL", "PRUNERY_API_KEY"):
        monkeypatch.delenv(name)
    storage = S3Settings()
    assert storage.s3_endpoint == PLAIN["PRUNERY_S3_ENDPOINT"]
    assert storage.s3_secret_key.get_secret_value() == "hidden-5"
