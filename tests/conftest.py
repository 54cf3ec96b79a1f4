"""Fixtures that start the real thing.

`servers` (session)     PostgreSQL, Valkey and SeaweedFS, running: `cli.stack.Servers`.
`environment` (test)    the `PRUNERY_…` variables for a process of ours: a database of its own with every migration
                        applied, a bucket of its own, an empty broker, a work folder of its own.
`settings` (test)       the same as `jobs.settings.Settings`, which `jobs.settings.load()` returns too during the test.
`bucket` (test)         the test's bucket: a boto3 Bucket.
`data`, `small_model`, `small_text` (session)   see `tests.models`.
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import psycopg
import pytest
import redis
from psycopg import sql

from cli.stack.servers import Servers
from jobs.settings import Settings, load
from tests.models import data, small_model, small_text  # noqa: F401  # fixtures

if TYPE_CHECKING:
    from mypy_boto3_s3.service_resource import Bucket

_TEMPLATE = "migrated"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture(scope="session")
def migrated(servers: Servers) -> str:
    """The name of a database with every migration applied, to be copied and never written to."""
    with _administrator(servers) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
    if find_spec("migrations.__main__") is not None:
        subprocess.run(
            [sys.executable, "-m", "migrations"], env=os.environ | servers.settings(_TEMPLATE), check=True, timeout=120
        )
    return _TEMPLATE


@pytest.fixture
def environment(servers: Servers, migrated: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    name = f"test-{next(_numbers)}"
    database = sql.Identifier(name)
    with _administrator(servers) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(database, sql.Identifier(migrated)))
    redis.Redis.from_url(servers.valkey.url).flushall()
    variables = servers.settings(name) | {"PRUNERY_S3_BUCKET": name, "PRUNERY_WORK_DIR": str(tmp_path / "work")}
    _bucket(variables).create()
    yield variables
    with _administrator(servers) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
    used = _bucket(variables)
    used.objects.all().delete()
    used.delete()


@pytest.fixture
def settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    load.cache_clear()
    yield load()
    load.cache_clear()


@pytest.fixture
def bucket(environment: dict[str, str]) -> "Bucket":
    return _bucket(environment)


def _administrator(servers: Servers) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(servers.postgres.url("postgres").replace("+psycopg", "", 1), autocommit=True)


def _bucket(variables: dict[str, str]) -> "Bucket":
    storage = boto3.resource(
        "s3",
        endpoint_url=variables["PRUNERY_S3_ENDPOINT"],
        region_name=variables["PRUNERY_S3_REGION"],
        aws_access_key_id=variables["PRUNERY_S3_ACCESS_KEY"],
        aws_secret_access_key=variables["PRUNERY_S3_SECRET_KEY"],
    )
    return storage.Bucket(variables["PRUNERY_S3_BUCKET"])
