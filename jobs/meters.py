"""What is counted over all processes: in the transaction in which it comes true, so that a crash neither loses it nor
counts it twice. `app.metrics` shows it.
"""

import json
from collections import defaultdict
from collections.abc import MutableMapping
from dataclasses import dataclass
from math import inf

from sqlalchemy import ColumnElement, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from jobs.tables import Table

Pending = MutableMapping[tuple[str, str], float]

PENDING = "meters"
# Where a sample of a histogram falls, and what all samples come to.
BOUND, SUM = "le", "sum"

MINUTE, HOUR = 60.0, 3600.0
WAITS = (1.0, 5.0, 15.0, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR, 12 * HOUR, 24 * HOUR)


class MeterRow(Table):
    """How much was counted under a name and labels, since the database was made."""

    __tablename__ = "meters"

    name: Mapped[str] = mapped_column(primary_key=True)
    labels: Mapped[str] = mapped_column(primary_key=True)  # JSON, its keys in order
    value: Mapped[float]


@dataclass(frozen=True)
class Meter:
    """Something that is counted; a histogram if it has bounds."""

    name: str
    says: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


FINISHED = Meter("compression_jobs_finished", "Jobs that came to an end.", ("status", "reason"))
QUEUE_WAIT = Meter("compression_queue_wait_seconds", "From being queued, also again, to being claimed.", bounds=WAITS)
PHASES = Meter("compression_job_duration_seconds", "Time that jobs spent in a phase.", ("phase",), WAITS)
LEASES_EXPIRED = Meter("compression_job_lease_expired", "Leases that ran out: their worker fell silent.")
ATTEMPTS = Meter("compression_job_attempts", "Attempts that ended.", ("outcome",))
GPU_SECONDS = Meter(
    "compression_gpu_seconds",
    "Time that attempts held their worker; useful up to the last checkpoint, or to success.",
    ("useful",),
)
CHECKPOINT_BYTES = Meter("compression_checkpoint_upload_bytes", "Bytes of checkpoints that went to object storage.")
DELIVERIES = Meter("compression_webhook_deliveries", "Attempts to deliver a webhook's message.", ("outcome",))
METERS = (FINISHED, QUEUE_WAIT, PHASES, LEASES_EXPIRED, ATTEMPTS, GPU_SECONDS, CHECKPOINT_BYTES, DELIVERIES)

SEEN = "part_seen"


def count(session: Session, meter: Meter, amount: float = 1.0, **labels: str) -> None:
    """Add to a counter when the transaction is committed."""
    _add(session, meter, labels, amount)


def observe(session: Session, meter: Meter, value: float, **labels: str) -> None:
    """Add a sample to a histogram when the transaction is committed."""
    bound = next((bound for bound in meter.bounds if value <= bound), inf)
    _add(session, meter, labels | {BOUND: str(bound)}, 1.0)
    _add(session, meter, labels | {BOUND: SUM}, value)


def seen(session: Session, part: str) -> None:
    """Say that a part of the service that nobody calls is at work."""
    now = func.extract("epoch", func.clock_timestamp())
    statement = insert(MeterRow).values(name=SEEN, labels=_text({"part": part}), value=now)
    session.execute(statement.on_conflict_do_update(index_elements=["name", "labels"], set_={"value": now}))


def write(session: Session) -> None:
    """What was counted, as the last and shortest step of a transaction: these rows are everyone's.

    In one order, so that no two transactions can each wait for the other.
    """
    pending: Pending = session.info.pop(PENDING, {})
    if not pending:
        return
    rows = [{"name": name, "labels": labels, "value": value} for (name, labels), value in sorted(pending.items())]
    statement = insert(MeterRow).values(rows)
    total: ColumnElement[float] = MeterRow.value + statement.excluded.value
    session.execute(statement.on_conflict_do_update(index_elements=["name", "labels"], set_={"value": total}))


def forget(session: Session) -> None:
    """Nothing of what was counted has come true."""
    session.info.pop(PENDING, None)


def _add(session: Session, meter: Meter, labels: dict[str, str], amount: float) -> None:
    assert set(labels) - {BOUND} == set(meter.labels), meter.name
    pending: Pending = session.info.setdefault(PENDING, defaultdict(float))
    pending[meter.name, _text(labels)] += amount


def _text(labels: dict[str, str]) -> str:
    return json.dumps(labels, sort_keys=True)
