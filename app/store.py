"""What a client sees and does: jobs, their events and artifacts, uploaded files. Never commits.

Each function is told the project that asks; what belongs to another is not there.
"""

from sqlalchemy import Select, bindparam, insert, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql.base import Executable

from app import webhooks
from jobs import ids, sources, tracing
from jobs.errors import NotFound
from jobs.outline import Plan
from jobs.registry_tables import ModelRow, RefRow, RevisionFileRow
from jobs.sealing import Seal
from jobs.specs import PRIORITIES, JobSpec
from jobs.states import Status
from jobs.tables import AttemptRow, CheckpointRow, EventRow, FileRow, JobRow, OutboxRow
from jobs.webhooks import announce


def _new_job() -> Executable:
    """A job, its first event and its doorbell, in one statement: two more would cost two round trips."""
    asked = (
        *("id", "project_id", "name", "base_model", "metadata_", "spec", "traceparent", "plan", "priority"),
        *("needed_bytes", "gpu_class", "max_attempts", "max_runtime_seconds", "deadline_at"),
    )
    values = {name: bindparam(name, type_=getattr(JobRow, name).type) for name in asked}
    job = insert(JobRow).values(status=Status.QUEUED, last_seq=1, **values).returning(JobRow).cte("job")
    event = select(job.c.id, job.c.last_seq, job.c.status, literal({}, JSONB))
    return select(JobRow).from_statement(
        select(job).add_cte(
            insert(EventRow).from_select(["job_id", "seq", "type", "data"], event).cte("event"),
            insert(OutboxRow).from_select(["job_id"], select(job.c.id)).cte("bell"),
        )
    )


NEW_JOB = _new_job()


def create(
    session: Session,
    spec: JobSpec,
    *,
    project_id: str,
    max_attempts: int,
    plan: Plan | None = None,
    seal: Seal | None = None,
) -> JobRow:
    """A new job in the queue; the relay rings for it once this transaction is committed.

    Args:
        max_attempts: Where the spec does not say.
        plan: What the job will keep, if that is known already.
        seal: For the secret of the job's own webhook, if it names one.
    """
    values = {
        "id": ids.new("cjob"),
        "project_id": project_id,
        "name": spec.name,
        "base_model": sources.place(spec.base_model),
        "metadata_": spec.metadata,
        "spec": spec.model_dump(mode="json"),
        "traceparent": tracing.traceparent(),
        "plan": plan and plan.model_dump(mode="json"),
        "priority": PRIORITIES[spec.priority],
        "needed_bytes": plan and plan.memory,
        "gpu_class": spec.gpu_class,
        "max_attempts": spec.limits.max_attempts or max_attempts,
        "max_runtime_seconds": spec.limits.max_runtime_seconds,
        "deadline_at": spec.limits.deadline,
    }
    row: JobRow = session.scalars(NEW_JOB, values).one()
    if spec.webhook is not None:
        secret = spec.webhook.secret.get_secret_value()
        webhooks.create(
            session,
            project_id=project_id,
            url=spec.webhook.url,
            events=spec.webhook.events,
            secret=secret,
            seal=seal or Seal(()),
            job_id=row.id,
        )
    announce(session, row, [(str(Status.QUEUED), {})])
    return row


def get(session: Session, job_id: str, *, project_id: str) -> JobRow:
    """
    Raises:
        NotFound: there is no such job.
    """
    row = session.get(JobRow, job_id)
    if row is None or row.project_id != project_id:
        raise _no_job(job_id)
    return row


def events(session: Session, job_id: str, *, project_id: str, after: int, limit: int) -> list[EventRow]:
    """Events with a number above `after`, in their order.

    Raises:
        NotFound: there is no such job.
    """
    get(session, job_id, project_id=project_id)
    query = select(EventRow).where(EventRow.job_id == job_id, EventRow.seq > after)
    return list(session.scalars(query.order_by(EventRow.seq).limit(limit)))


def attempts(session: Session, job_id: str, *, project_id: str) -> list[AttemptRow]:
    """The workers' tries at a job, in their order.

    Raises:
        NotFound: there is no such job.
    """
    get(session, job_id, project_id=project_id)
    query = select(AttemptRow).where(AttemptRow.job_id == job_id)
    return list(session.scalars(query.order_by(AttemptRow.number)))


def checkpoints(session: Session, job_id: str, *, project_id: str) -> list[CheckpointRow]:
    """What a job could go on from, the oldest first.

    Raises:
        NotFound: there is no such job.
    """
    get(session, job_id, project_id=project_id)
    query = select(CheckpointRow).where(CheckpointRow.job_id == job_id, CheckpointRow.deleted_at.is_(None))
    return list(session.scalars(query.order_by(CheckpointRow.number)))


def artifacts(session: Session, job_id: str, *, project_id: str) -> list[RevisionFileRow]:
    """The published files, by path; none before the job has succeeded, nor after its model was deleted.

    Raises:
        NotFound: there is no such job.
    """
    get(session, job_id, project_id=project_id)
    return list(session.scalars(_published(job_id, project_id).order_by(RevisionFileRow.path)))


def artifact(session: Session, job_id: str, path: str, *, project_id: str) -> RevisionFileRow:
    """
    Raises:
        NotFound: there is no such job, or it has not published such a file.
    """
    job = get(session, job_id, project_id=project_id)
    row = session.scalars(_published(job_id, project_id).where(RevisionFileRow.path == path)).one_or_none()
    if row is None:
        raise NotFound(f"Job {job_id} ({job.status}) has no artifact {path!r}.")
    return row


def _published(job_id: str, project_id: str) -> Select[RevisionFileRow]:
    """The files of the revision that the job's tag leads to."""
    return (
        select(RevisionFileRow)
        .join(RefRow, (RefRow.model_id == RevisionFileRow.model_id) & (RefRow.commit == RevisionFileRow.commit))
        .join(ModelRow, ModelRow.id == RefRow.model_id)
        .where(RefRow.name == job_id, RefRow.kind == "tag")
        .where(ModelRow.project_id == project_id, ModelRow.deleted_at.is_(None))
    )


def add_file(session: Session, *, project_id: str, id: str, name: str, bytes: int, sha256: str) -> FileRow:
    """Make an uploaded file known; its bytes are already in object storage."""
    row = FileRow(id=id, project_id=project_id, name=name, bytes=bytes, sha256=sha256)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def file(session: Session, id: str, *, project_id: str) -> FileRow:
    """
    Raises:
        NotFound: there is no such file.
    """
    row = session.get(FileRow, id)
    if row is None or row.project_id != project_id:
        raise NotFound(f"There is no file {id!r}.")
    return row


def _no_job(job_id: str) -> NotFound:
    return NotFound(f"There is no job {job_id!r}.")
