"""Checkpoints that become models: a job of its own takes each from where it lies, and publishes it. Never commits."""

from typing import Any

from pydantic import Field, ValidationError
from sqlalchemy.orm import Session

from app import datasets, pointers, quotas, store
from jobs import errors, revisions, transitions
from jobs.outline import Plan
from jobs.outputs import OutputSpec
from jobs.settings import Settings
from jobs.sources import Spec
from jobs.specs import JobName, JobSpec
from jobs.tables import CheckpointRow, JobRow


class PublishRequest(Spec):
    """What may be said of a checkpoint that is to be published."""

    name: JobName | None = Field(None, description="Of the job that publishes it; made of the other one's if null.")
    output: OutputSpec | None = Field(
        None, description="What is published; as the other job says if null. Without a repository, as its revision."
    )


def spec_of(job: JobRow, checkpoint: CheckpointRow, request: PublishRequest) -> JobSpec:
    """What the publishing job is asked for: all that the other one was, but for what was said, and its deadline.

    Raises:
        InvalidSpec: the job cannot have such an output.
    """
    asked = JobSpec.model_validate(job.spec)
    output = request.output or asked.output
    output = output.model_copy(update={"repository": output.repository or revisions.repository(job)})
    fields = {
        "name": request.name or f"{(job.name or job.base_model)[:150]}, step {checkpoint.step}",
        "output": output.model_dump(),
        "metadata": job.metadata_,
        "limits": asked.limits.model_copy(update={"deadline": None}).model_dump(),
    }
    try:
        return JobSpec.model_validate(asked.model_dump() | fields)
    except ValidationError as error:
        with pointers.at("/output"):
            raise errors.InvalidSpec(f"With this output the job is impossible: {error.errors()[0]['msg']}.") from error


def create(
    session: Session,
    job_id: str,
    number: int,
    spec: JobSpec,
    *,
    project_id: str,
    settings: Settings,
    plan: Plan | None,
) -> JobRow:
    """A job that goes on from the checkpoint, only to finish; the checkpoint stays for as long as it may be needed.

    Args:
        plan: of the other job, for the memory that this one needs, too.
    Raises:
        NotFound, CheckpointNotPublishable: see `checkpoint`.
        QuotaExceeded, DatasetNotFound
    """
    quotas.require_submission(session, project_id, settings)
    datasets.hold(session, spec, project_id)
    # Whoever drops a checkpoint has this lock first.
    job = session.get(JobRow, job_id, with_for_update={"read": True}, populate_existing=True)
    source = checkpoint(session, job_id, number, project_id=project_id)
    assert job is not None
    made = store.create(session, spec, project_id=project_id, max_attempts=settings.max_attempts)
    session.add(_borrowed(source, made.id))
    values: dict[str, Any] = {
        "from_checkpoint": {"job_id": job_id, "number": number, "step": source.step},
        "first_attempt": 0,
        "resumable": True,
        "overrides": job.overrides,
        "needed_bytes": plan and plan.memory,
    }
    row = transitions.change(session, made.id, **values)
    assert row is not None, "it was made in this transaction"
    return row


def checkpoint(session: Session, job_id: str, number: int, *, project_id: str) -> CheckpointRow:
    """
    Raises:
        NotFound: there is no such job, or it has no such checkpoint (any more).
        CheckpointNotPublishable: nothing has been removed by then.
    """
    there = store.checkpoints(session, job_id, project_id=project_id)
    found = next((row for row in there if row.number == number), None)
    if found is None:
        raise errors.NotFound(f"Job {job_id} has no checkpoint {number}.", hint=_possible(there))
    if not found.publishable:
        raise errors.CheckpointNotPublishable(
            f"At checkpoint {number} (step {found.step}) nothing has been removed from the model yet.",
            hint=_possible(there),
        )
    return found


def _possible(rows: list[CheckpointRow]) -> str:
    numbers = ", ".join(str(row.number) for row in rows if row.publishable)
    return f"These can be published: {numbers}." if numbers else "There is none yet that can be published."


def _borrowed(source: CheckpointRow, job_id: str) -> CheckpointRow:
    """The same objects as the first checkpoint of another job, before its first attempt."""
    return CheckpointRow(
        job_id=job_id,
        number=1,
        attempt=0,
        step=source.step,
        run=source.run,
        sparsity=source.sparsity,
        perplexity=source.perplexity,
        is_best=True,
        bytes=source.bytes,
        files=source.files,
        manifest_key=source.manifest_key,
        sha256=source.sha256,
        origin_job_id=source.origin_job_id or source.job_id,
    )
