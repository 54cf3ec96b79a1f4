"""The rows that only the door reads and writes."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

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
