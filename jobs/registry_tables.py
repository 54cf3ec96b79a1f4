"""The rows of the registry: models, their immutable revisions, and the names that point at revisions."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from jobs.tables import Json, Table


class ModelRow(Table):
    """A repository of a project, known to clients as `{namespace of the project}/{name}`."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    visibility: Mapped[str] = mapped_column(server_default="private")  # public: whoever reaches the service may read
    description: Mapped[str | None]
    downloads: Mapped[int] = mapped_column(BigInteger, server_default="0")
    deprecated_at: Mapped[datetime | None]
    deprecation: Mapped[str | None]  # what to use instead, and why
    deleted_at: Mapped[datetime | None]  # hidden since; its content goes when the grace time is over
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("visibility IN ('private', 'public')", name="visibility"),
        # A deleted model leaves its name to others.
        Index("models_project_id_name", "project_id", "name", unique=True, postgresql_where="deleted_at IS NULL"),
        Index("models_project_id_created_at_id", "project_id", "created_at", "id"),
    )


class RevisionRow(Table):
    """One state of a model's files. Never changed: its commit is the hash of what it holds."""

    __tablename__ = "revisions"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    commit: Mapped[str] = mapped_column(primary_key=True)  # 40 hexadecimal digits
    job_id: Mapped[str | None]  # no foreign key: the model outlives the job that made it
    step: Mapped[int | None]  # of training, if it was published on the way
    title: Mapped[str]
    base_model: Mapped[str | None]  # what it was made from, and which revision of that
    base_revision: Mapped[str | None]
    license: Mapped[str | None]
    bytes: Mapped[int] = mapped_column(BigInteger)
    facts: Mapped[Json]  # what a client is told of the files without reading them: configuration, parameters, quality
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index("revisions_model_id_created_at", "model_id", "created_at"),
        Index("revisions_job_id", "job_id"),
    )


class RevisionFileRow(Table):
    """A file of a revision; its bytes lie under their hash."""

    __tablename__ = "revision_files"

    model_id: Mapped[str] = mapped_column(primary_key=True)
    commit: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    git_oid: Mapped[str]  # what git would call it: of the content, or for a large file of the pointer to it
    is_large: Mapped[bool]  # clients know large files by their SHA-256, small ones by their git id

    __table_args__ = (
        ForeignKeyConstraint(
            ["model_id", "commit"],
            ["revisions.model_id", "revisions.commit"],
            name="revision_files_revision_fkey",
            ondelete="CASCADE",
        ),
        Index("revision_files_sha256", "sha256"),
    )


class RefRow(Table):
    """A name of a revision: the branch `main`, a tag such as a job's id or `step-N`, an alias such as `champion`."""

    __tablename__ = "refs"

    model_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]  # a tag stays where it is; branches and aliases move
    commit: Mapped[str]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("kind IN ('alias', 'branch', 'tag')", name="kind"),
        ForeignKeyConstraint(
            ["model_id", "commit"],
            ["revisions.model_id", "revisions.commit"],
            name="refs_revision_fkey",
            ondelete="CASCADE",
        ),
        Index("refs_name", "name"),
    )
