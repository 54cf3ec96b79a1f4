"""The rows that only the door reads and writes."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from jobs import held_models as held_models
from jobs import registry_tables as registry_tables
from jobs import upload_tables as upload_tables
from jobs.tables import Json
from jobs.tables import Table as Table


class ApiKeyRow(Table):
    """A key of a project. The key itself is kept nowhere: `prefix` finds the row, and `sha256` proves the whole."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[bytes]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]  # to the minute
    revoked_at: Mapped[datetime | None]

    __table_args__ = (Index("api_keys_project_id_created_at_id", "project_id", "created_at", "id"),)


class AuditRow(Table):
    """Something that was done. The database refuses to change or remove it."""

    __tablename__ = "audit_log"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str]  # no foreign key: the log outlives what it tells of
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    key_id: Mapped[str | None]  # none: the key of the environment
    key_name: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]
    data: Mapped[Json]
    request_id: Mapped[str]

    __table_args__ = (Index("audit_log_project_id_id", "project_id", "id"),)


class DownloadRow(Table):
    """A caller who has downloaded a revision of a model: `digest` is the SHA-256 of both."""

    __tablename__ = "downloads"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[bytes] = mapped_column(primary_key=True)
