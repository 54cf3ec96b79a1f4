"""Copies of models of the hub, so that a second job needs no hub."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hub_copies",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", "commit", name="hub_copies_pkey"),
    )
    op.create_table(
        "hub_copy_files",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", "commit", "path", name="hub_copy_files_pkey"),
        sa.ForeignKeyConstraint(
            ["id", "commit"],
            ["hub_copies.id", "hub_copies.commit"],
            name="hub_copy_files_copy_fkey",
            ondelete="CASCADE",
        ),
    )
    op.create_index("hub_copy_files_sha256", "hub_copy_files", ["sha256"])


def downgrade() -> None:
    op.drop_table("hub_copy_files")
    op.drop_table("hub_copies")
