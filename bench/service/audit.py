"""What is left in database, object storage and on the machine after a round, held against what was asked for."""

import hashlib
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import store
from app.attempts import lost_steps
from bench.service import faults
from bench.service.orders import Order
from cli.stack import Stack
from jobs.files import Files, blob_key
from jobs.registry_tables import RevisionFileRow
from jobs.states import FINAL, MOVES, Status
from jobs.tables import AttemptRow, EventRow, JobRow, OutboxRow

MODEL_FILES = frozenset({"config.json", "model.safetensors", "compression_report.json"})


def endings(session: Session, orders: Iterable[Order]) -> list[str]:
    """Each order that has no job, more than one, or one that did not end once and as it had to."""
    wrong = []
    for order in orders:
        rows = _jobs(session, order)
        if len(rows) != 1:
            wrong.append(f"order {order.name} has {len(rows)} jobs")
        wrong += [f"{row.id}: {complaint}" for row in rows for complaint in _complaints(session, row, order)]
    return wrong


def _jobs(session: Session, order: Order) -> list[JobRow]:
    """Found by the metadata, as a submission whose answer was lost may have stored one that nobody knows."""
    return list(session.scalars(select(JobRow).where(JobRow.spec["metadata"]["order"].astext == order.name)))


def _complaints(session: Session, row: JobRow, order: Order) -> Iterable[str]:
    events = list(session.scalars(select(EventRow).where(EventRow.job_id == row.id).order_by(EventRow.seq)))
    if row.status != order.ending:
        yield f"is {row.status} ({row.reason}) after {row.attempt} attempts, not {order.ending}: {row.error}"
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        yield "its events have gaps"
    walk = [Status(event.type) for event in events if event.type in set(Status)]
    if walk[:1] != [Status.QUEUED] or any(b not in MOVES[a] for a, b in pairwise(walk)):
        yield f"went an impossible way: {' '.join(walk)}"
    if sum(status in FINAL for status in walk) != 1 or walk[-1] != row.status:
        yield f"did not end once: {' '.join(walk)}"
    if walk.count(Status.RUNNING) != row.attempt:
        yield f"counts {row.attempt} attempts and began {walk.count(Status.RUNNING)} times"


def trained_again(session: Session, orders: Iterable[Order]) -> list[int]:
    """For each attempt that another followed: the steps of it that had to be taken again."""
    again: list[int] = []
    for row in [row for order in orders for row in _jobs(session, order)]:
        query = select(AttemptRow).where(AttemptRow.job_id == row.id).order_by(AttemptRow.number)
        again += lost_steps(session.scalars(query)).values()
    return again


def artifacts(session: Session, files: Files, orders: Iterable[Order]) -> list[str]:
    """Each published file that is not whole, and each job that lacks one or has some without having succeeded."""
    wrong = []
    for row in [row for order in orders for row in _jobs(session, order)]:
        published = store.artifacts(session, row.id, project_id=row.project_id)
        paths = {artifact.path for artifact in published}
        if row.status == Status.SUCCEEDED and not paths >= MODEL_FILES:
            wrong.append(f"{row.id}: published only {sorted(paths)}")
        if row.status != Status.SUCCEEDED and published:
            wrong.append(f"{row.id}: is {row.status} and published {len(published)} files")
        wrong += [f"{row.id}: {artifact.path} is not whole" for artifact in published if not is_whole(files, artifact)]
    return wrong


def is_whole(files: Files, artifact: RevisionFileRow) -> bool:
    """Whether object storage has its very bytes."""
    key = blob_key(artifact.sha256)
    if files.size(key) != artifact.bytes:
        return False
    digest = hashlib.sha256()
    for piece in files.open_range(key, 0, artifact.bytes):
        digest.update(piece)
    return digest.hexdigest() == artifact.sha256


def leftovers(session: Session, stack: Stack) -> list[str]:
    """What nobody will look at again: engines, work folders, doorbells, half uploads."""
    left = [f"engine process {pid}" for pid in faults.engines(stack)]
    left += [f"work folder {path.name}" for path in _folders(stack.servers.folder.work)]
    left += [f"doorbell for {row.job_id} in the outbox" for row in session.scalars(select(OutboxRow))]
    with redis.Redis.from_url(stack.servers.valkey.url) as broker:
        left += [f"message {number} in the broker" for number in range(broker.llen("prunery:jobs"))]
    return left


def _folders(work: Path) -> list[Path]:
    return [path for path in work.iterdir() if path.is_dir()]
