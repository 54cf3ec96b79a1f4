"""Jobs that publish a checkpoint of another job, and checkpoints that lie where another job has written them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("from_checkpoint", JSONB(none_as_null=True)))
    op.add_column("checkpoints", sa.Column("origin_job_id", sa.Text))
    op.create_index(
        "checkpoints_origin_job_id", "checkpoints", ["origin_job_id"],
        postgresql_where=sa.text("origin_job_id IS NOT NULL"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("checkpoints_origin_job_id", table_name="checkpoints")
    op.drop_column("checkpoints", "origin_job_id")
    op.drop_column("jobs", "from_checkpoint")
