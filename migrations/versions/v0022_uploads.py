"""Contents that are sent piece by piece."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    now = sa.func.now()
    op.create_table(
        "uploads",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("offset", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("storage_id", sa.Text, nullable=False),
        sa.Column("etags", ARRAY(sa.Text), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="uploads_pkey"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="uploads_project_id_fkey"),
        sa.CheckConstraint('"offset" BETWEEN 0 AND bytes', name="uploads_offset_check"),
    )
    op.create_index("uploads_project_id_sha256", "uploads", ["project_id", "sha256"], unique=True)
    complete = sa.text("completed_at IS NOT NULL")
    op.create_index("uploads_complete", "uploads", ["sha256"], postgresql_where=complete)


def downgrade() -> None:
    op.drop_table("uploads")
