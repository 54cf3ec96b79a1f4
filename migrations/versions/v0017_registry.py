"""Models, their revisions and the names of these; a namespace for every project."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# As `jobs.repository_names.slug` has it; where two names come to the same, or to nothing, the later one takes its id.
NAMESPACES = """
UPDATE projects SET namespace = CASE WHEN found.place = 1 AND found.slug <> '' THEN found.slug
                                     ELSE replace(projects.id, '_', '-') END
FROM (
    SELECT id, slug, row_number() OVER (PARTITION BY slug ORDER BY created_at, id) AS place
    FROM (
        SELECT id, created_at,
               trim('-' FROM left(trim('-' FROM regexp_replace(lower(name), '[^a-z0-9]+', '-', 'g')), 96)) AS slug
        FROM projects
    ) AS named
) AS found
WHERE projects.id = found.id
"""


def upgrade() -> None:
    op.add_column("projects", sa.Column("namespace", sa.Text))
    op.execute(NAMESPACES)
    op.alter_column("projects", "namespace", nullable=False)
    op.create_unique_constraint("projects_namespace_key", "projects", ["namespace"])
    _create_models()
    _create_revisions()
    op.create_table(
        "refs",
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        _time("updated_at", now=True),
        sa.PrimaryKeyConstraint("model_id", "name", name="refs_pkey"),
        _of_revision("refs"),
        sa.CheckConstraint("kind IN ('alias', 'branch', 'tag')", name=op.f("refs_kind_check")),
    )


def downgrade() -> None:
    for table in ("refs", "revision_files", "revisions", "models"):
        op.drop_table(table)
    op.drop_column("projects", "namespace")


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("visibility", sa.Text, nullable=False, server_default="private"),
        sa.Column("description", sa.Text),
        sa.Column("downloads", sa.BigInteger, nullable=False, server_default="0"),
        _time("deprecated_at"),
        sa.Column("deprecation", sa.Text),
        _time("deleted_at"),
        _time("created_at", now=True),
        _time("updated_at", now=True),
        sa.PrimaryKeyConstraint("id", name="models_pkey"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="models_project_id_fkey"),
        sa.CheckConstraint("visibility IN ('private', 'public')", name=op.f("models_visibility_check")),
    )
    op.create_index("models_project_id_name", "models", ["project_id", "name"], unique=True)
    op.create_index("models_project_id_created_at_id", "models", ["project_id", "created_at", "id"])


def _create_revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("step", sa.Integer),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("base_model", sa.Text),
        sa.Column("base_revision", sa.Text),
        sa.Column("license", sa.Text),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("facts", JSONB, nullable=False),
        _time("created_at", now=True),
        sa.PrimaryKeyConstraint("model_id", "commit", name="revisions_pkey"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="revisions_model_id_fkey", ondelete="CASCADE"),
    )
    op.create_index("revisions_model_id_created_at", "revisions", ["model_id", "created_at"])
    op.create_index("revisions_job_id", "revisions", ["job_id"])
    op.create_table(
        "revision_files",
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("git_oid", sa.Text, nullable=False),
        sa.Column("is_large", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("model_id", "commit", "path", name="revision_files_pkey"),
        _of_revision("revision_files"),
    )
    op.create_index("revision_files_sha256", "revision_files", ["sha256"])


def _of_revision(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["model_id", "commit"],
        ["revisions.model_id", "revisions.commit"],
        name=f"{table}_revision_fkey",
        ondelete="CASCADE",
    )


def _time(name: str, *, now: bool = False) -> sa.Column[datetime]:
    zoned = sa.DateTime(timezone=True)
    return sa.Column(name, zoned, nullable=not now, server_default=sa.func.now() if now else None)
