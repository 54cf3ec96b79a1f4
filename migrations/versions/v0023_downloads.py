"""Who has downloaded which revision, as hashes."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "downloads",
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("model_id", "digest", name="downloads_pkey"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="downloads_model_id_fkey", ondelete="CASCADE"),
    )


def downgrade() -> None:
    op.drop_table("downloads")
