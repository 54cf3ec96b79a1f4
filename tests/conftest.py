"""Fixtures that start the real thing.

`servers` (session)     PostgreSQL, Valkey and SeaweedFS, running: `cli.stack.Servers`.
`environment` (test)    the `PRUNERY_…` variables for a process of ours: a database of its own with every migration
                        applied, an empty bucket, an empty broker, a work folder of its own.
`settings` (test)       the same as `jobs.settings.Settings`, which `jobs.settings.load()` returns too during the test.
`bucket` (test)         the bucket: a boto3 Bucket.
`stack` (session)       all of Prunery, running, with servers of its own: `cli.stack.Stack`. It has `url` and `api_key`,
                        and jobs may name any local path. A test may kill parts of it, as in
                        `stack.processes["worker-1"].kill()`, if it starts them again: `stack.restart("worker-1")`
                        and `stack.wait_for("worker-1")`.
`collector` (session)   what the processes of `stack` trace: `tests.collector.Collector`.
`engine`, `sessions` (test)   on the test's database.
`spec` (test)           a job that may be stored.
`data`, `small_model`, `small_text` (session)   see `tests.models`.
"""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from cli.stack.ports import free_block
from cli.stack.servers import Servers
from cli.stack.stack import Stack
from jobs import database
from jobs.settings import Settings, load
from jobs.specs import JobSpec
from tests.collector import Collector
from tests.models import data, small_model, small_text  # noqa: F401  # fixtures

if TYPE_CHECKING:
    from mypy_boto3_s3.service_resource import Bucket

# A machine behind a proxy reaches its own servers without it.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost," + os.environ.get("NO_PROXY", "")

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
        # Nobody pulls the plug: what the kernel was given is there after any kill, and copies take no time.
        for option in ("fsync", "full_page_writes"):
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(option)))
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
    variables = os.environ | servers.settings(_TEMPLATE)
    subprocess.run([sys.executable, "-m", "migrations"], env=variables, check=True, timeout=120)
    return _TEMPLATE


@pytest.fixture(scope="session")
def storage(servers: Servers) -> "Bucket":
    """One for all tests, one after the other: the server takes long to find room for the first object of each."""
    variables = servers.settings("postgres")
    storage = boto3.resource(
        "s3",
        endpoint_url=variables["PRUNERY_S3_ENDPOINT"],
        region_name=variables["PRUNERY_S3_REGION"],
        aws_access_key_id=variables["PRUNERY_S3_ACCESS_KEY"],
        aws_secret_access_key=variables["PRUNERY_S3_SECRET_KEY"],
    )
    return storage.create_bucket(Bucket="tests")


@pytest.fixture
def environment(servers: Servers, migrated: str, storage: "Bucket", tmp_path: Path) -> Iterator[dict[str, str]]:
    name = f"test-{next(_numbers)}"
    database, template = sql.Identifier(name), sql.Identifier(migrated)
    with _administrator(servers) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(database, template))
    redis.Redis.from_url(servers.valkey.url).flushall()
    work = {"PRUNERY_S3_BUCKET": storage.name, "PRUNERY_WORK_DIR": str(tmp_path / "work")}
    yield servers.settings(name) | work
    with _administrator(servers) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
    storage.objects.all().delete()
    for upload in storage.multipart_uploads.all():
        upload.abort()


@pytest.fixture
def settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    load.cache_clear()
    yield load()
    load.cache_clear()


@pytest.fixture
def bucket(environment: dict[str, str], storage: "Bucket") -> "Bucket":
    return storage


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    settings = {
        "PRUNERY_LOCAL_ROOTS": json.dumps(["/"]),
        # So that the job of a killed worker is soon given to another.
        "PRUNERY_LEASE_SECONDS": "6",
        "PRUNERY_HEARTBEAT_SECONDS": "1",
        "PRUNERY_REAP_SECONDS": "1",
        "PRUNERY_LOG_FORMAT": "json",
        # Its webhooks may come to this machine.
        "PRUNERY_WEBHOOK_HTTP": "true",
        "PRUNERY_WEBHOOK_PORTS": "[]",
        "PRUNERY_WEBHOOK_NETWORKS": json.dumps(["127.0.0.0/8"]),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "500",
    }
    (port,) = free_block(1)
    with Stack(tmp_path_factory.mktemp("stack"), port=port, settings=settings) as running:
        yield running


def _administrator(servers: Servers) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(servers.postgres.url("postgres").replace("+psycopg", "", 1), autocommit=True)


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
