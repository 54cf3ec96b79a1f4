"""What lists of jobs are filtered by, as columns of their own, with indexes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

FROM_SPECS = """
UPDATE jobs SET
    name = spec->>'name',
    base_model = coalesce(spec #>> '{base_model,id}', spec #>> '{base_model,path}', spec #>> '{base_model,uri}'),
    metadata = spec->'metadata'
"""


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.add_column("jobs", sa.Column("name", sa.Text))
    op.add_column("jobs", sa.Column("base_model", sa.Text))
    op.add_column("jobs", sa.Column("metadata", JSONB))
    op.execute(FROM_SPECS)
    op.alter_column("jobs", "base_model", nullable=False)
    op.alter_column("jobs", "metadata", nullable=False)
    op.create_index("jobs_project_id_status_created_at_id", "jobs", ["project_id", "status", "created_at", "id"])
    op.create_index(
        "jobs_metadata", "jobs", ["metadata"], postgresql_using="gin", postgresql_ops={"metadata": "jsonb_path_ops"}
    )
    op.create_index(
        "jobs_names",
        "jobs",
        ["name", "base_model"],
        postgresql_using="gin",
        postgresql_ops={"name": "gin_trgm_ops", "base_model": "gin_trgm_ops"},
    )


def downgrade() -> None:
    for index in ("jobs_names", "jobs_metadata", "jobs_project_id_status_created_at_id"):
        op.drop_index(index, "jobs")
    for column in ("metadata", "base_model", "name"):
        op.drop_column("jobs", column)
    op.execute("DROP EXTENSION pg_trgm")
