"""The quota of uploads is called apart from the limit of one upload."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("projects", "max_upload_bytes", new_column_name="max_uploaded_bytes")


def downgrade() -> None:
    op.alter_column("projects", "max_uploaded_bytes", new_column_name="max_upload_bytes")
