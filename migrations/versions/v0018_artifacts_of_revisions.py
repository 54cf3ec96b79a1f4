"""What a job has published are the files of its revision; a deleted model leaves its name to others."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("artifacts")
    op.drop_index("models_project_id_name", "models")
    living = sa.text("deleted_at IS NULL")
    op.create_index("models_project_id_name", "models", ["project_id", "name"], unique=True, postgresql_where=living)
    op.create_index("refs_name", "refs", ["name"])


def downgrade() -> None:
    op.drop_index("refs_name", "refs")
    op.execute("DELETE FROM models WHERE deleted_at IS NOT NULL")
    op.drop_index("models_project_id_name", "models")
    op.create_index("models_project_id_name", "models", ["project_id", "name"], unique=True)
    op.create_table(
        "artifacts",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "path", name="artifacts_pkey"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="artifacts_job_id_fkey", ondelete="CASCADE"),
    )
    op.create_index("artifacts_sha256", "artifacts", ["sha256"])
    op.execute(
        """
        INSERT INTO artifacts (job_id, path, bytes, sha256)
        SELECT jobs.id, revision_files.path, revision_files.bytes, revision_files.sha256
        FROM jobs JOIN refs ON refs.name = jobs.id AND refs.kind = 'tag'
                  JOIN revision_files USING (model_id, commit)
        """
    )
