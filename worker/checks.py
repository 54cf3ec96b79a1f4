"""What can be wrong with a deployment, one look at each thing, and what to do about it."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pkgutil import iter_modules
from typing import Any, Literal, cast
from uuid import uuid4

import httpx2
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

import migrations.versions
from jobs import database, meters
from jobs.errors import StorageUnavailable
from jobs.files import Files
from jobs.settings import Settings
from jobs.uploads import PART_BYTES

OLDEST_POSTGRES = 14
SKEW_SECONDS = 30.0
LAG_SECONDS = 60.0
SILENT_SECONDS = 60.0
GIB = 2**30
FEW_BYTES, SCARCE_BYTES = 1 * GIB, 10 * GIB

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """How one thing is."""

    part: str
    state: State
    says: str
    advice: str = ""


Check = Callable[[Settings], Iterator[Finding]]


def reach_database(settings: Settings) -> Iterator[Finding]:
    """It answers, is new enough, has the newest schema, and the same time as this machine."""
    engine = database.engine(settings)
    try:
        yield from _look_at_database(engine)
    except SQLAlchemyError as error:
        yield Finding(
            "database", "failed", _short(error), "Is it running? PRUNERY_DATABASE_URL says where and as whom."
        )
    finally:
        engine.dispose()


def _look_at_database(engine: Engine) -> Iterator[Finding]:
    with engine.connect() as connection:
        version = int(connection.scalar(text("SHOW server_version_num")) or 0) // 10_000
        now: datetime = connection.scalar(text("SELECT clock_timestamp()")) or datetime.now(UTC)
        skew = abs((now - datetime.now(UTC)).total_seconds())
        known = connection.scalar(text("SELECT to_regclass('alembic_version')")) is not None
        at = connection.scalar(text("SELECT version_num FROM alembic_version")) if known else None
    if version < OLDEST_POSTGRES:
        advice = f"Upgrade it: Prunery needs {OLDEST_POSTGRES} or newer."
        yield Finding("database", "failed", f"it is PostgreSQL {version}", advice)
    else:
        yield Finding("database", "ok", f"PostgreSQL {version} answers")
    if skew > SKEW_SECONDS:
        says = f"this machine's time and the database's are {skew:.0f} s apart"
        yield Finding("clock", "warning", says, "Have both keep their time by NTP: signatures are refused otherwise.")
    newest = max(module.name for module in iter_modules(migrations.versions.__path__))[1:5]
    if at == newest:
        yield Finding("schema", "ok", f"it is at {at}, the newest")
    else:
        says = f"it is at {at or 'nothing'}; this version of Prunery needs {newest}"
        advice = "Run python -m migrations." if (at or "") < newest else "Run the version that migrated it, or newer."
        yield Finding("schema", "failed", says, advice)


def reach_broker(settings: Settings) -> Iterator[Finding]:
    """It answers, forgets nothing when it is full, and keeps what it has over a restart."""
    try:
        with Redis.from_url(
            settings.broker_url.get_secret_value(), socket_timeout=5, socket_connect_timeout=5
        ) as redis:
            known = cast("dict[str, Any]", redis.info())
    except (RedisError, OSError) as error:
        yield Finding("broker", "failed", _short(error), "Is it running? PRUNERY_BROKER_URL says where it should be.")
        return
    yield Finding("broker", "ok", "it answers")
    policy = known.get("maxmemory_policy")
    if policy != "noeviction":
        says = f"when its memory is full it forgets keys ({policy})"
        yield Finding("broker memory", "failed", says, "Set maxmemory-policy noeviction.")
    if not known.get("aof_enabled"):
        says = "it forgets everything when it restarts; queued jobs are then announced again after a while"
        yield Finding("broker persistence", "warning", says, "Set appendonly yes.")


def use_storage(settings: Settings) -> Iterator[Finding]:
    """Objects can be put, fetched by a signed link, put in parts, and deleted."""
    files = Files(settings, settings.s3_public_endpoint)
    key, parts = (f"doctor/{uuid4()}{suffix}" for suffix in ("", ".parts"))
    try:
        files.reachable()
        files.put_bytes(key, b"doctor")
        with files.upload(parts, None) as upload:
            upload.write(b"\0" * (PART_BYTES + 1))
            upload.finish()
        whole = files.size(parts) == PART_BYTES + 1 and files.read(key, 100) == b"doctor"
        answer = httpx2.get(files.presign(key, "doctor"), trust_env=False, timeout=10)
        for each in (key, parts):
            files.delete(each)
        gone = files.size(key) is None
    except StorageUnavailable as error:
        advice = "PRUNERY_S3_ENDPOINT, _BUCKET, _ACCESS_KEY and _SECRET_KEY say where and as whom."
        yield Finding("object storage", "failed", error.detail, advice)
        return
    except httpx2.HTTPError as error:
        advice = "PRUNERY_S3_PUBLIC_ENDPOINT must be where clients reach it."
        yield Finding("download links", "failed", f"a signed link leads nowhere: {error}", advice)
        return
    if not (whole and gone):
        yield Finding("object storage", "failed", "what was put there came back otherwise", "Do not use this storage.")
    else:
        yield Finding("object storage", "ok", "put, put in parts, get and delete work")
    if answer.content != b"doctor":
        says = f"a signed link is answered with {answer.status_code}"
        yield Finding("download links", "failed", says, "Is PRUNERY_S3_PUBLIC_ENDPOINT the same storage?")
    else:
        yield Finding("download links", "ok", "they work")


def find_processes(settings: Settings) -> Iterator[Finding]:
    """Relay, sender and workers were lately at work, and nothing waits for them for long."""
    engine = database.engine(settings)
    try:
        with engine.connect() as connection:
            seen = "SELECT labels::json ->> 'part', value FROM meters WHERE name = :name"
            ages = {part: time.time() - value for part, value in connection.execute(text(seen), {"name": meters.SEEN})}
            workers = connection.execute(
                text(
                    "SELECT host, gpu_class, memory_bytes, fault FROM workers"
                    " WHERE seen_at > now() - make_interval(secs => :silent)"
                ),
                {"silent": SILENT_SECONDS},
            ).all()
            bells = _age(connection.scalar(text("SELECT now() - min(created_at) FROM outbox")))
            due = "SELECT now() - min(due_at) FROM webhook_deliveries WHERE status = 'pending' AND due_at < now()"
            messages = _age(connection.scalar(text(due)))
    except SQLAlchemyError as error:
        yield Finding("processes", "failed", f"what they do cannot be read: {_short(error)}", "See the database first.")
        return
    finally:
        engine.dispose()
    for part, module in (("relay", "worker.relay"), ("webhooks", "worker.webhooks")):
        age = ages.get(part)
        if age is None or age > SILENT_SECONDS:
            since = "it was never at work" if age is None else f"it was last at work {age:.0f} s ago"
            yield Finding(part, "failed", since, f"Start it: python -m {module}; its log tells why it ended.")
        else:
            yield Finding(part, "ok", "it is at work")
    if bells > LAG_SECONDS:
        says = f"a job has waited {bells:.0f} s to be announced"
        yield Finding("outbox", "failed", says, "Look at the relay and the broker.")
    if messages > LAG_SECONDS:
        says = f"a message has been due for {messages:.0f} s"
        yield Finding("webhook messages", "warning", says, "Start another sender, or raise PRUNERY_WEBHOOK_SENDERS.")
    if all(fault for *_, fault in workers):
        says = "none was seen lately that takes jobs: they wait"
        yield Finding("workers", "failed", says, "Start one; see docker-compose.yml for its command.")
    for host, gpu_class, memory, fault in workers:
        if fault:
            advice = "Look at the GPU (nvidia-smi, dmesg | grep Xid), reset or replace it, and start the worker again."
            yield Finding("workers", "failed", f"{host} takes no jobs: {fault}", advice)
            continue
        what = f"GPU class {gpu_class}, " if gpu_class else ""
        yield Finding("workers", "ok", f"{host} is at work ({what}jobs may take {memory / GIB:.1f} GiB)")


def look_at_disk(settings: Settings) -> Iterator[Finding]:
    """The folder for running jobs can be written, and has room. It is this machine's: ask on each worker."""
    folder = settings.work_dir.absolute()
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    probe = there / f".doctor-{uuid4()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        advice = "Let the worker's user write there, or set PRUNERY_WORK_DIR."
        yield Finding("work folder", "failed", f"{there} cannot be written: {error.strerror}", advice)
        return
    free = shutil.disk_usage(there).free
    says = f"{folder} has {free / GIB:.1f} GiB left"
    if free < SCARCE_BYTES:
        state: State = "failed" if free < FEW_BYTES else "warning"
        yield Finding("work folder", state, says, "A job needs about three times the size of its model.")
    else:
        yield Finding("work folder", "ok", says)


def look_at_secrets(settings: Settings) -> Iterator[Finding]:
    """The secrets of webhooks are encrypted where it matters."""
    if settings.environment == "production" and not settings.encryption_keys:
        says = "the secrets of webhooks lie in the database as they are"
        yield Finding("encryption", "warning", says, "Set PRUNERY_ENCRYPTION_KEYS; .env.example says how to make one.")


CHECKS: tuple[Check, ...] = (
    reach_database,
    reach_broker,
    use_storage,
    find_processes,
    look_at_disk,
    look_at_secrets,
)


def _age(interval: Any) -> float:
    return 0.0 if interval is None else float(interval.total_seconds())


def _short(error: Exception) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
