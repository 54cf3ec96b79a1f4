"""Pauses, priorities, deadlines; attempts and workers as rows."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

LEASED = "status IN ('cancelling', 'pausing', 'running')"
STATUSES = "status IN ('cancelled', 'cancelling', 'failed', 'paused', 'pausing', 'queued', 'running', 'succeeded')"
LEASED_BEFORE = "status IN ('cancelling', 'running')"
STATUSES_BEFORE = "status IN ('cancelled', 'cancelling', 'failed', 'queued', 'running', 'succeeded')"


def upgrade() -> None:
    for column in _columns():
        op.add_column("jobs", column)
    _check(STATUSES, LEASED)
    op.create_index(
        "jobs_claimable",
        "jobs",
        [sa.text("priority DESC"), "queued_at"],
        postgresql_where=sa.text("status IN ('queued')"),
    )
    _create_attempts()
    op.create_table(
        "workers",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("gpu_class", sa.Text),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("job_id", sa.Text),
        _time("started_at", now=True),
        _time("seen_at", now=True),
        sa.PrimaryKeyConstraint("id", name="workers_pkey"),
    )


def downgrade() -> None:
    op.drop_table("workers")
    op.drop_table("job_attempts")
    op.drop_index("jobs_claimable", "jobs")
    # Without pauses a paused job is one that waits; its worker, if it still has one, is fenced.
    op.execute("UPDATE jobs SET status = 'queued', lease_token = NULL WHERE status IN ('paused', 'pausing')")
    _check(STATUSES_BEFORE, LEASED_BEFORE)
    for column in _columns():
        op.drop_column("jobs", column.name)


def _columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("needed_bytes", sa.BigInteger),
        sa.Column("gpu_class", sa.Text),
        sa.Column("overrides", JSONB(none_as_null=True), nullable=False, server_default="{}"),
        _time("deadline_at"),
        sa.Column("max_runtime_seconds", sa.Integer),
        _time("not_before"),
        sa.Column("first_attempt", sa.Integer, nullable=False, server_default="1"),
        sa.Column("free_attempts", sa.Integer, nullable=False, server_default="0"),
        _time("heard_at"),
        _time("pause_requested_at"),
        _time("finish_requested_at"),
    ]


def _check(statuses: str, leased: str) -> None:
    op.drop_constraint(op.f("jobs_status_check"), "jobs")
    op.drop_constraint(op.f("jobs_lease_check"), "jobs")
    op.create_check_constraint(op.f("jobs_status_check"), "jobs", statuses)
    op.create_check_constraint(op.f("jobs_lease_check"), "jobs", f"({leased}) = (lease_token IS NOT NULL)")
    op.drop_index("jobs_leased", "jobs")
    op.create_index("jobs_leased", "jobs", ["lease_expires_at"], postgresql_where=sa.text(leased))


def _create_attempts() -> None:
    op.create_table(
        "job_attempts",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        _time("ended_at"),
        sa.Column("outcome", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("phase", sa.Text),
        sa.Column("resumed_step", sa.Integer),
        sa.Column("reached_step", sa.Integer),
        sa.PrimaryKeyConstraint("job_id", "number", name="job_attempts_pkey"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="job_attempts_job_id_fkey", ondelete="CASCADE"),
    )
    op.create_index("job_attempts_running", "job_attempts", ["job_id"], postgresql_where=sa.text("ended_at IS NULL"))


def _time(name: str, *, now: bool = False) -> sa.Column[datetime]:
    zoned = sa.DateTime(timezone=True)
    return sa.Column(name, zoned, nullable=not now, server_default=sa.func.now() if now else None)
