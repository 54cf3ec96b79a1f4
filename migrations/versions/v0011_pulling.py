"""Workers look for jobs by themselves: nobody has to note when a job was last announced."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("jobs_queued", "jobs")
    op.drop_column("jobs", "rung_at")


def downgrade() -> None:
    op.add_column(
        "jobs", sa.Column("rung_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
    )
    op.create_index("jobs_queued", "jobs", ["rung_at"], postgresql_where=sa.text("status IN ('queued')"))
