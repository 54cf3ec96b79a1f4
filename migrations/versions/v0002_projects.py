"""Projects as tenants of jobs and files, their API keys, and a default project for what is there already."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DEFAULT = "proj_default"


def upgrade() -> None:
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("max_running", sa.Integer),
        sa.Column("max_queued", sa.Integer),
        sa.Column("max_storage_bytes", sa.BigInteger),
        sa.Column("max_upload_bytes", sa.BigInteger),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", name="projects_pkey"),
        sa.UniqueConstraint("name", name="projects_name_key"),
    )
    op.bulk_insert(projects, [{"id": DEFAULT, "name": "default"}])
    for table in ("jobs", "files"):
        op.add_column(table, sa.Column("project_id", sa.Text, nullable=False, server_default=DEFAULT))
        # Only the rows that were there belong to it unsaid.
        op.alter_column(table, "project_id", server_default=None)
        op.create_foreign_key(f"{table}_project_id_fkey", table, "projects", ["project_id"], ["id"])
    op.drop_index("jobs_created_at_id", "jobs")
    op.create_index("jobs_project_id_created_at_id", "jobs", ["project_id", "created_at", "id"])
    op.create_index("files_project_id", "files", ["project_id"])
    _create_api_keys()


def downgrade() -> None:
    op.drop_table("api_keys")
    op.create_index("jobs_created_at_id", "jobs", ["created_at", "id"])
    op.drop_index("jobs_project_id_created_at_id", "jobs")
    for table in ("jobs", "files"):
        op.drop_column(table, "project_id")
    op.drop_table("projects")


def _create_api_keys() -> None:
    zoned = sa.DateTime(timezone=True)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("created_at", zoned, nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", zoned),
        sa.Column("last_used_at", zoned),
        sa.Column("revoked_at", zoned),
        sa.PrimaryKeyConstraint("id", name="api_keys_pkey"),
        sa.UniqueConstraint("prefix", name="api_keys_prefix_key"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="api_keys_project_id_fkey"),
    )
    op.create_index("api_keys_project_id_created_at_id", "api_keys", ["project_id", "created_at", "id"])
