"""Workers tell how much of their machine's GPUs is in use."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("gpu_used_bytes", ARRAY(sa.BigInteger), nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("workers", "gpu_used_bytes")
