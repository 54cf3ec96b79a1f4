"""What attempts are about to publish, and an index to find who needs a content."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "holds",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "sha256", name="holds_pkey"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="holds_job_id_fkey", ondelete="CASCADE"),
    )
    op.create_index("holds_sha256", "holds", ["sha256"])
    op.create_index("artifacts_sha256", "artifacts", ["sha256"])


def downgrade() -> None:
    op.drop_index("artifacts_sha256", "artifacts")
    op.drop_table("holds")
