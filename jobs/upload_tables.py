"""Contents that are sent piece by piece, over several requests if need be, to become files of a model."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from jobs.tables import Table


class UploadRow(Table):
    """One content, known by its hash before it is sent; when it is complete it lies under that hash."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    offset: Mapped[int] = mapped_column(BigInteger, server_default="0")  # bytes that need not be sent again
    storage_id: Mapped[str]  # of the upload in parts, in object storage
    etags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")  # of its parts
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    touched_at: Mapped[datetime] = mapped_column(server_default=func.now())
    completed_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint('"offset" BETWEEN 0 AND bytes', name="offset"),
        Index("uploads_project_id_sha256", "project_id", "sha256", unique=True),
        Index("uploads_complete", "sha256", postgresql_where=text("completed_at IS NOT NULL")),
    )
