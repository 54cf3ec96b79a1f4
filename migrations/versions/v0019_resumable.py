"""Whether a job has a checkpoint to go on from, on its own row; and what keeps a worker from taking jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("resumable", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("workers", sa.Column("fault", sa.Text))
    op.execute(
        "UPDATE jobs SET resumable = true FROM checkpoints AS c"
        " WHERE c.job_id = jobs.id AND c.deleted_at IS NULL AND c.attempt >= jobs.first_attempt"
    )


def downgrade() -> None:
    op.drop_column("workers", "fault")
    op.drop_column("jobs", "resumable")
