"""The rows of a job's checkpoints, and what an attempt tells of the one it goes on from. Never commits.

As with all that a worker does to a job, each write names the token of its lease, and None or False says fenced.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from jobs import meters, transitions
from jobs.tables import AttemptRow, CheckpointRow, Json
from worker import leases
from worker.depot import Stored
from worker.leases import Claim

KEPT = 3
"""The newest so many stay, and the best one, and the one that the attempt went on from."""


@dataclass(frozen=True)
class Recorded:
    """A checkpoint has its row; `dropped` are those that it takes the place of, `kept` are all others.

    To these belong those of the job's checkpoints that other jobs are to publish.
    """

    row: CheckpointRow
    dropped: list[CheckpointRow]
    kept: list[CheckpointRow]


def usable(session: Session, claim: Claim) -> list[CheckpointRow]:
    """The checkpoints that the attempt may go on from, the newest first."""
    query = (
        select(CheckpointRow)
        .where(
            CheckpointRow.job_id == claim.job_id,
            CheckpointRow.deleted_at.is_(None),
            CheckpointRow.attempt >= claim.first_attempt,
        )
        .order_by(CheckpointRow.number.desc())
    )
    return list(session.scalars(query))


def record(session: Session, claim: Claim, stored: Stored, *, resumed_from: int | None) -> Recorded | None:
    """Make a checkpoint known, and give up those that are not needed any more."""
    last = session.scalar(select(func.max(CheckpointRow.number)).where(CheckpointRow.job_id == claim.job_id)) or 0
    data: Json = {
        "checkpoint": last + 1,
        "step": stored.step,
        "bytes": stored.bytes,
        "sparsity": stored.sparsity,
        "perplexity": stored.perplexity,
    }
    events: list[transitions.Event] = [("checkpoint_saved", data)]
    if transitions.change(session, claim.job_id, *leases.held(claim), events=events, resumable=True) is None:
        return None
    row = CheckpointRow(
        job_id=claim.job_id,
        number=last + 1,
        attempt=claim.attempt,
        step=stored.step,
        run=stored.run,
        sparsity=stored.sparsity,
        perplexity=stored.perplexity,
        bytes=stored.bytes,
        files=stored.files,
        manifest_key=stored.manifest_key,
        sha256=stored.sha256,
    )
    session.add(row)
    meters.count(session, meters.CHECKPOINT_BYTES, stored.bytes)
    session.flush()
    session.refresh(row)
    alive = usable(session, claim)
    best = _best(alive)
    for other in alive:
        other.is_best = other is best
    kept = [other for at, other in enumerate(alive) if at < KEPT or other is best or other.number == resumed_from]
    dropped = [other for other in alive if other not in kept]
    for other in dropped:
        other.deleted_at = func.now()
    session.flush()
    # Whoever publishes one has had the lock of this job's row before, or finds it deleted.
    borrowed = select(CheckpointRow).where(
        CheckpointRow.origin_job_id == claim.job_id, CheckpointRow.deleted_at.is_(None)
    )
    return Recorded(row, dropped, [*kept, *session.scalars(borrowed)])


def resumed(session: Session, claim: Claim, row: CheckpointRow | None, faults: Sequence[str]) -> bool:
    """Say from which checkpoint the attempt goes on, if from any, what that costs, and which others were broken."""
    events: list[transitions.Event] = [
        ("log", {"level": "warning", "message": f"A checkpoint is broken and not used: {fault}."}) for fault in faults
    ]
    if row is not None:
        reached = session.scalar(
            select(AttemptRow.reached_step)
            .where(
                AttemptRow.job_id == claim.job_id,
                AttemptRow.number < claim.attempt,
                AttemptRow.reached_step.is_not(None),  # of those that took any
            )
            .order_by(AttemptRow.number.desc())
            .limit(1)
        )
        lost = None if reached is None else max(0, reached - row.step)
        events.append(
            ("resumed", {"checkpoint": row.number, "step": row.step, "attempt": row.attempt, "lost_steps": lost})
        )
    if transitions.change(session, claim.job_id, *leases.held(claim), events=events) is None:
        return False
    if row is not None:
        session.execute(
            update(AttemptRow)
            .where(AttemptRow.job_id == claim.job_id, AttemptRow.number == claim.attempt)
            .values(resumed_step=row.step)
        )
    return True


def give_up_last(session: Session, claim: Claim) -> bool:
    """Have the job go on from the checkpoint before the last, if there is one: the last may hold the fault already."""
    rows = usable(session, claim)
    if len(rows) < 2:
        return True
    last, before = rows[:2]
    words = f"Checkpoint {last.number} (step {last.step}) is given up, the job goes on from step {before.step}."
    event = ("log", {"level": "warning", "message": f"{words} What came after it was not finite."})
    if transitions.change(session, claim.job_id, *leases.held(claim), events=[event]) is None:
        return False
    last.deleted_at = func.now()
    session.flush()
    return True


def finished(session: Session, claim: Claim) -> bool:
    """Say that the attempt trains nothing: an earlier one has left a whole model on this machine."""
    reached = session.scalar(
        select(func.max(AttemptRow.reached_step)).where(
            AttemptRow.job_id == claim.job_id, AttemptRow.number.between(claim.first_attempt, claim.attempt - 1)
        )
    )
    data: Json = {"checkpoint": None, "step": reached, "attempt": claim.attempt - 1, "lost_steps": 0}
    if transitions.change(session, claim.job_id, *leases.held(claim), events=[("resumed", data)]) is None:
        return False
    session.execute(
        update(AttemptRow)
        .where(AttemptRow.job_id == claim.job_id, AttemptRow.number == claim.attempt)
        .values(resumed_step=reached)
    )
    return True


def _best(rows: Sequence[CheckpointRow]) -> CheckpointRow | None:
    """The one that predicts held-out text best, of those that have lost the most units; the newer one of equals."""
    measured = [row for row in rows if row.perplexity is not None and row.sparsity is not None]
    return min(measured, key=lambda row: (-(row.sparsity or 0), row.perplexity, -row.number), default=None)
