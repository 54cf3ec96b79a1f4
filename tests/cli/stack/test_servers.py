"""The three real servers: what they keep, what they survive, and what they leave."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import httpx2
import psycopg
import pytest
import redis
from pydantic import SecretStr

from cli.stack import privileges
from cli.stack.failures import FolderInUse, FolderUnusable, PartFailed, ProgramMissing
from cli.stack.folder import DataFolder
from cli.stack.ports import LOOPBACK, free_block
from cli.stack.postgres import Postgres
from cli.stack.seaweed import Seaweed
from cli.stack.servers import Servers, port_was_taken
from cli.stack.valkey import Valkey
from jobs.sealing import MARK, Seal
from tests.cli.stack.holder import CHECKOUT, holding

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def write(settings: dict[str, str], word: str) -> None:
    """Leave a word in each of the three."""
    with psycopg.connect(dsn(settings)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", [word])
    redis.Redis.from_url(settings["PRUNERY_BROKER_URL"]).rpush("words", word)
    storage(settings).put_object(Bucket=settings["PRUNERY_S3_BUCKET"], Key=word, Body=word.encode())


def read(settings: dict[str, str]) -> tuple[list[str], list[str], list[str]]:
    """The words in each of the three."""
    with psycopg.connect(dsn(settings)) as connection:
        rows = [word for (word,) in connection.execute("SELECT word FROM words")]
    broker = redis.Redis.from_url(settings["PRUNERY_BROKER_URL"], decode_responses=True)
    messages = [str(word) for word in broker.lrange("words", 0, -1)]
    listed = storage(settings).list_objects_v2(Bucket=settings["PRUNERY_S3_BUCKET"])["Contents"]
    return rows, messages, [item["Key"] for item in listed if item["Key"] != ".ready"]


def dsn(settings: dict[str, str]) -> str:
    return settings["PRUNERY_DATABASE_URL"].replace("+psycopg", "")


def storage(settings: dict[str, str]) -> "S3Client":
    return boto3.client(
        "s3",
        endpoint_url=settings["PRUNERY_S3_ENDPOINT"],
        region_name=settings["PRUNERY_S3_REGION"],
        aws_access_key_id=settings["PRUNERY_S3_ACCESS_KEY"],
        aws_secret_access_key=settings["PRUNERY_S3_SECRET_KEY"],
    )


@pytest.mark.parametrize("killed", ["supervisor", "everything"])
def test_killed_without_warning_leaves_no_process_and_loses_nothing(tmp_path: Path, killed: str) -> None:
    data = tmp_path / 'my "data", all'
    with holding(data) as holder:
        write(holder.settings, "kept")
        victims = [holder.process.pid] if killed == "supervisor" else [holder.process.pid, *holder.family.pids]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        holder.process.wait()
        # At once: a start must wait for those of the former that are still ending.
        with Servers(data) as again:
            assert not holder.family.survivors()
            assert read(again.settings()) == (["kept"], ["kept"], ["kept"])
            assert again.settings()["PRUNERY_API_KEY"] == holder.settings["PRUNERY_API_KEY"]
            pids = [process.pid for process in again.processes.values()]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("part", ["postgres", "valkey", "seaweed"])
def test_a_server_that_was_killed_starts_again_where_it_was_with_what_it_had(servers: Servers, part: str) -> None:
    before, pid = servers.settings(), servers.processes[part].pid
    write(before, part)
    servers.processes[part].kill()
    servers.restart(part)
    servers.wait_for(part)
    assert servers.processes[part].pid != pid
    assert servers.settings() == before
    assert all(part in words for words in read(before))


def test_a_suspended_server_stands_still_and_goes_on(servers: Servers) -> None:
    broker = redis.Redis.from_url(servers.valkey.url, socket_timeout=1)
    servers.processes["valkey"].suspend()
    with pytest.raises(redis.exceptions.TimeoutError):
        broker.ping()
    servers.processes["valkey"].go_on()
    assert broker.ping()


def test_stale_pid_file_of_a_process_that_lives_is_no_obstacle(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    postgres = Postgres(folder, folder.open())
    postgres.prepare()
    cluster = folder.postgres / "cluster"
    owner = cluster.stat().st_uid
    with subprocess.Popen(["sleep", "600"], user=owner if os.geteuid() == 0 else None) as bystander:
        (cluster / "postmaster.pid").write_text(f"{bystander.pid}\n{cluster}\n")
        postgres.prepare()
        process = postgres.start(free_block(1))
        process.wait_until(postgres.ready, seconds=60)
        process.stop(10)
        bystander.kill()
    folder.close()


def test_two_side_by_side_and_never_two_in_one_folder(servers: Servers, tmp_path: Path) -> None:
    with Servers(tmp_path) as other:
        write(other.settings(), "other")
        assert read(other.settings()) == (["other"], ["other"], ["other"])
        with pytest.raises(FolderInUse, match=str(os.getpid())):
            Servers(tmp_path).start()
        theirs = other.settings()["PRUNERY_DATABASE_URL"].rpartition("@")[2]
        ours, _, _ = dsn(servers.settings()).rpartition("@")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"{ours}@{theirs}")
        assert other.processes["postgres"].running


def test_ports_taken_since_last_time_are_left_alone(servers: Servers, tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text((servers.folder.root / "ports.json").read_text())
    with Servers(tmp_path) as other:
        assert not set(other.settings().values()) & {servers.settings()["PRUNERY_S3_ENDPOINT"]}
        write(other.settings(), "other")
        assert read(other.settings()) == (["other"], ["other"], ["other"])


@pytest.mark.parametrize("kind", [Postgres, Valkey, Seaweed])
def test_port_taken_while_starting_is_recognised(tmp_path: Path, kind: type[Postgres | Valkey | Seaweed]) -> None:
    folder = DataFolder(tmp_path)
    server = kind(folder, folder.open())
    server.prepare()
    block = free_block(server.num_ports)
    with socket.create_server((LOOPBACK, block[0])):
        process = server.start(block)
        with pytest.raises(PartFailed) as failure:
            process.wait_until(server.ready, seconds=60)
    assert port_was_taken(failure.value)
    assert failure.value.part == kind.part
    folder.close()


def test_secrets_are_the_owners_alone(servers: Servers) -> None:
    for name in ("secrets.json", "seaweed/config/s3.json", "seaweed/config/security.toml", "valkey/valkey.conf"):
        assert (servers.folder.root / name).stat().st_mode & 0o777 == 0o600, name
    secrets = set(servers.credentials.model_dump().values())
    for process in servers.processes.values():
        line = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
        assert not [secret for secret in secrets if secret in line], process.part


def test_object_store_has_no_door_beside_the_s3_one(servers: Servers) -> None:
    storage(servers.settings()).put_object(Bucket="prunery", Key="private", Body=b"x")
    filer = f"http://127.0.0.1:{servers.folder.remembered_ports('seaweed')[4]}/buckets/prunery"
    assert httpx2.get(f"{filer}/private").status_code == 401
    assert httpx2.post(f"{filer}/forged", content=b"x").status_code == 401


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_runs_as_a_user_who_is_not_root(tmp_path: Path) -> None:
    nobody = privileges.unprivileged()
    assert nobody is not None
    identity = privileges.able_to_run(nobody, [sys.executable, "-c", "import psycopg"], CHECKOUT)
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, identity.uid, identity.gid)
    with holding(data, identity) as holder:
        write(holder.settings, "kept")
        assert read(holder.settings) == (["kept"], ["kept"], ["kept"])
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in holder.pids.values()} == {identity.uid}
        holder.process.kill()
        holder.family.wait_until_gone()


def test_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable, match="file"):
        Servers(tmp_path / "file" / "data").start()


def test_missing_program_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALKEY_BIN", str(tmp_path / "nothing"))
    with pytest.raises(ProgramMissing, match=r"prunery\[embedded\]"):
        Servers(tmp_path / "data").start()
    assert not (tmp_path / "data").exists()


def test_a_folder_of_an_older_stack_is_given_the_secrets_that_it_lacks(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    first = folder.open()
    folder.close()
    secrets = tmp_path / "secrets.json"
    kept = json.loads(secrets.read_text())
    del kept["encryption_key"]
    secrets.write_text(json.dumps(kept))
    second = folder.open()
    folder.close()
    assert second.api_key == first.api_key
    assert second.encryption_key != first.encryption_key
    assert json.loads(secrets.read_text())["encryption_key"] == second.encryption_key
    assert Seal((SecretStr(second.encryption_key),)).closed("whsec_x").startswith(MARK)
