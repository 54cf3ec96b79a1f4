"""Webhook endpoints, what is to be told to them, and the log of the attempts."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", JSONB, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("old_secret", sa.Text),
        _time("old_secret_until"),
        _time("created_at", now=True),
        _time("failing_since"),
        _time("disabled_at"),
        sa.Column("disabled_reason", sa.Text),
        sa.PrimaryKeyConstraint("id", name="webhook_endpoints_pkey"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="webhook_endpoints_project_id_fkey"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="webhook_endpoints_job_id_fkey", ondelete="CASCADE"),
    )
    op.create_index("webhook_endpoints_job_id", "webhook_endpoints", ["job_id"])
    keyset = ["project_id", "created_at", "id"]
    op.create_index("webhook_endpoints_project_id_created_at_id", "webhook_endpoints", keyset)
    _create_deliveries()
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        _time("at", now=True),
        sa.Column("status_code", sa.Integer),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("response", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "number", name="webhook_attempts_pkey"),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["webhook_deliveries.id"], name="webhook_attempts_delivery_id_fkey", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    for table in ("webhook_attempts", "webhook_deliveries", "webhook_endpoints"):
        op.drop_table(table)


def _create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("endpoint_id", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default="pending"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("step", sa.Integer, nullable=False, server_default="0"),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.func.now()),
        _time("created_at", now=True),
        _time("ended_at"),
        sa.PrimaryKeyConstraint("id", name="webhook_deliveries_pkey"),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoints.id"], name="webhook_deliveries_endpoint_id_fkey", ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            "status IN ('delivered', 'failed', 'pending')", name=op.f("webhook_deliveries_status_check")
        ),
        sa.CheckConstraint("(status = 'pending') = (due_at IS NOT NULL)", name=op.f("webhook_deliveries_due_check")),
    )
    pending = sa.text("status = 'pending'")
    op.create_index("webhook_deliveries_due", "webhook_deliveries", ["due_at"], postgresql_where=pending)
    op.create_index("webhook_deliveries_endpoint", "webhook_deliveries", ["endpoint_id", "created_at", "id"])
    op.create_index("webhook_deliveries_ended_at", "webhook_deliveries", ["ended_at"])


def _time(name: str, *, now: bool = False) -> sa.Column[datetime]:
    zoned = sa.DateTime(timezone=True)
    return sa.Column(name, zoned, nullable=not now, server_default=sa.func.now() if now else None)
