"""Jobs, their events and artifacts, uploaded files, and the outbox."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LEASED = "status IN ('cancelling', 'running')"
STATUSES = "status IN ('cancelled', 'cancelling', 'failed', 'queued', 'running', 'succeeded')"


def upgrade() -> None:
    _create_jobs()
    _create_job_parts()
    op.create_table(
        "files",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        _time("created_at", now=True),
        sa.PrimaryKeyConstraint("id", name="files_pkey"),
    )


def downgrade() -> None:
    for table in ("files", "outbox", "artifacts", "job_events", "jobs"):
        op.drop_table(table)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("spec", JSONB, nullable=False),
        sa.Column("plan", JSONB),
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("phase", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("progress", JSONB),
        _time("progress_at"),
        sa.Column("result", JSONB),
        sa.Column("error", JSONB),
        sa.Column("last_seq", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("lease_token", sa.Uuid),
        sa.Column("lease_owner", sa.Text),
        _time("lease_expires_at"),
        _time("heartbeat_at"),
        _time("rung_at", now=True),
        _time("created_at", now=True),
        _time("queued_at", now=True),
        _time("started_at"),
        _time("finished_at"),
        _time("cancel_requested_at"),
        sa.PrimaryKeyConstraint("id", name="jobs_pkey"),
        sa.CheckConstraint(STATUSES, name=op.f("jobs_status_check")),
        sa.CheckConstraint(f"({LEASED}) = (lease_token IS NOT NULL)", name=op.f("jobs_lease_check")),
    )
    op.create_index("jobs_created_at_id", "jobs", ["created_at", "id"])
    op.create_index("jobs_queued", "jobs", ["rung_at"], postgresql_where=sa.text("status IN ('queued')"))
    op.create_index("jobs_leased", "jobs", ["lease_expires_at"], postgresql_where=sa.text(LEASED))


def _create_job_parts() -> None:
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("seq", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        _time("at", now=True),
        sa.PrimaryKeyConstraint("job_id", "seq", name="job_events_pkey"),
        _of_a_job("job_events"),
    )
    op.create_table(
        "artifacts",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "path", name="artifacts_pkey"),
        _of_a_job("artifacts"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        _time("created_at", now=True),
        sa.PrimaryKeyConstraint("id", name="outbox_pkey"),
        _of_a_job("outbox"),
    )


def _time(name: str, *, now: bool = False) -> sa.Column[datetime]:
    zoned = sa.DateTime(timezone=True)
    return sa.Column(name, zoned, nullable=not now, server_default=sa.func.now() if now else None)


def _of_a_job(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=f"{table}_job_id_fkey", ondelete="CASCADE")
