"""The broker and the object store as docker-compose.yml starts them: with passwords, and closed to everyone else."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import httpx2
import pytest
import redis
from botocore.exceptions import ClientError
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.stack import programs
from cli.stack.ports import free_block
from tests.docker import compose

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

READY_SECONDS = 60


@pytest.fixture
def chosen() -> dict[str, str]:
    return {name: value or f"S3cret{name.replace('_', '')}" for name, value in compose.example().items()}


def test_the_broker_keeps_to_its_configuration(chosen: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "valkey.conf"
    file.write_text(compose.interpolate(compose.document()["configs"]["broker"]["content"], chosen))
    program, given = compose.command("broker")
    assert program == programs.valkey_program().name
    assert given == compose.services()["broker"]["configs"][0]["target"]
    (port,) = free_block(1)
    moved = ["--port", str(port), "--bind", "127.0.0.1"]
    command = [str(programs.valkey_program()), str(file), *moved]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        try:
            password = compose.environment("broker", chosen)["REDISCLI_AUTH"]
            once = Retry(NoBackoff(), 0)
            client = redis.Redis(port=port, password=password, retry=once, decode_responses=True)
            _wait(process, client.ping, redis.exceptions.ConnectionError)
            with pytest.raises(redis.exceptions.AuthenticationError):
                redis.Redis(port=port, retry=once).ping()
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            assert client.config_get("save") == {"save": ""}
        finally:
            process.terminate()
        assert process.wait(30) == 0


def test_object_storage_lets_in_only_whoever_has_the_key(chosen: dict[str, str], tmp_path: Path) -> None:
    names = ("master.port", "volume.port", "filer.port", "s3.port")
    ports = dict(zip([name + grpc for name in names for grpc in ("", ".grpc")], free_block(8), strict=True))
    moved = [f"-dir={tmp_path}", "-s3.ip.bind=127.0.0.1", *(f"-{name}={port}" for name, port in ports.items())]
    command = [str(programs.weed_program()), "-logtostderr=true", *compose.command("s3"), *moved]
    environment = {"PATH": os.defpath, "GODEBUG": "fips140=on", **compose.environment("s3", chosen)}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log) as process,
    ):
        try:
            url = f"http://127.0.0.1:{ports['s3.port']}"
            client = httpx2.Client(trust_env=False)
            _wait(process, lambda: client.get(f"{url}/healthz").raise_for_status(), httpx2.HTTPError)
            ours = _storage(url, chosen["PRUNERY_S3_ACCESS_KEY"], chosen["PRUNERY_S3_SECRET_KEY"])
            ours.create_bucket(Bucket="prunery")
            ours.put_object(Bucket="prunery", Key="a/b", Body=b"content")
            assert ours.get_object(Bucket="prunery", Key="a/b")["Body"].read() == b"content"
            other = _storage(url, chosen["PRUNERY_S3_ACCESS_KEY"], "another")
            with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
                other.get_object(Bucket="prunery", Key="a/b")
            assert client.get(f"{url}/prunery/a/b").status_code == 403
            filer = f"http://127.0.0.1:{ports['filer.port']}/buckets/prunery/a/b"
            assert client.get(filer).status_code >= 400
            assert client.put(filer, content=b"other").status_code >= 400
            assert ours.get_object(Bucket="prunery", Key="a/b")["Body"].read() == b"content"
        finally:
            # Told to end, it waits 15 s.
            process.kill()


def _storage(url: str, access_key: str, secret_key: str) -> "S3Client":
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )


def _wait(process: "subprocess.Popen[bytes]", request: Callable[[], object], refusal: type[Exception]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            request()
        except refusal:
            assert process.poll() is None, "it ended"
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.1)
        else:
            return
