"""The measurements of a job, step by step."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_metrics",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("step", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "key", "step", name="job_metrics_pkey"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="job_metrics_job_id_fkey", ondelete="CASCADE"),
    )


def downgrade() -> None:
    op.drop_table("job_metrics")
