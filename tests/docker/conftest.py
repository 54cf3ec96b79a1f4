"""Fixtures: the images, and variables with which their services reach the real servers.

`images` (session)    by service, what its image would hold.
`variables` (test)    what a .env file says that names the servers, a new empty database and a bucket of its own.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import sql

from cli.stack.servers import Servers
from tests.docker import compose
from tests.docker.images import Image, build_wheel


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    names = {service: definition["build"]["dockerfile"] for service, definition in compose.ours().items()}
    built = {
        name: Image(compose.Dockerfile(compose.ROOT / name), wheel, tmp_path_factory.mktemp("image"))
        for name in sorted(set(names.values()))
    }
    return {service: built[name] for service, name in names.items()}


@pytest.fixture
def variables(servers: Servers, tmp_path: Path) -> Iterator[dict[str, str]]:
    name = f"deployed-{secrets.token_hex(4)}"
    address = servers.postgres.url("postgres").replace("+psycopg", "", 1)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    redis.Redis.from_url(servers.valkey.url).flushall()
    given = servers.settings(name) | {"PRUNERY_S3_BUCKET": name, "PRUNERY_ENVIRONMENT": "production"}
    chosen = {variable: value or secrets.token_hex(24) for variable, value in compose.example().items()}
    yield chosen | given
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
