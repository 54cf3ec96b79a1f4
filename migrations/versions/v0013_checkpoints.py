"""Checkpoints in object storage, and what each attempt failed with."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job_attempts", sa.Column("error", JSONB(none_as_null=True)))
    op.create_table(
        "checkpoints",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False, server_default="state"),
        sa.Column("run", sa.Text),
        sa.Column("sparsity", sa.Float),
        sa.Column("perplexity", sa.Float),
        sa.Column("is_best", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("files", JSONB(none_as_null=True), nullable=False),
        sa.Column("manifest_key", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("job_id", "number", name="checkpoints_pkey"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="checkpoints_job_id_fkey", ondelete="CASCADE"),
    )


def downgrade() -> None:
    op.drop_table("checkpoints")
    op.drop_column("job_attempts", "error")
