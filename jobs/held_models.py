"""Models whose files lie in our own object storage, each under its hash: copies from the hub, and the registry's."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from jobs.registry_tables import ModelRow, RevisionFileRow
from jobs.sources import HubModel, ModelSource, RegistryModel
from jobs.tables import Json, ProjectRow, Table


class HubCopyRow(Table):
    """A model of the hub at one commit, brought here by the first job that needed it."""

    __tablename__ = "hub_copies"

    id: Mapped[str] = mapped_column(primary_key=True)
    commit: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    used_at: Mapped[datetime] = mapped_column(server_default=func.now())


class HubCopyFileRow(Table):
    """A file of it; its bytes lie under their hash."""

    __tablename__ = "hub_copy_files"

    id: Mapped[str] = mapped_column(primary_key=True)
    commit: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]

    __table_args__ = (
        ForeignKeyConstraint(
            ["id", "commit"],
            ["hub_copies.id", "hub_copies.commit"],
            name="hub_copy_files_copy_fkey",
            ondelete="CASCADE",
        ),
        Index("hub_copy_files_sha256", "sha256"),
    )


@dataclass(frozen=True)
class HeldFile:
    """A file of a model, by its path there."""

    path: str
    bytes: int
    sha256: str


def files(session: Session, source: ModelSource) -> list[HeldFile]:
    """The files of a model whose revision is a commit; none if it is not held here."""
    match source:
        case HubModel(id=id, revision=str(commit)):
            query = select(HubCopyFileRow.path, HubCopyFileRow.bytes, HubCopyFileRow.sha256).where(
                HubCopyFileRow.id == id, HubCopyFileRow.commit == commit
            )
        case RegistryModel(id=id, revision=str(commit)):
            namespace, _, name = id.partition("/")
            query = (
                select(RevisionFileRow.path, RevisionFileRow.bytes, RevisionFileRow.sha256)
                .join(ModelRow, ModelRow.id == RevisionFileRow.model_id)
                .join(ProjectRow, ProjectRow.id == ModelRow.project_id)
                .where(ProjectRow.namespace == namespace, ModelRow.name == name, ModelRow.deleted_at.is_(None))
                .where(RevisionFileRow.commit == commit)
            )
        case _:
            return []
    return [HeldFile(*row) for row in session.execute(query)]


def newest_commit(session: Session, id: str) -> str | None:
    """Of the copies of a hub model, the one that came last."""
    query = select(HubCopyRow.commit).where(HubCopyRow.id == id).order_by(HubCopyRow.created_at.desc())
    return session.scalar(query.limit(1))


def record_copy(session: Session, id: str, commit: str, held: Iterable[HeldFile]) -> None:
    """Make a copy known, whose files are in object storage already."""
    key = {"id": id, "commit": commit}
    if session.scalar(insert(HubCopyRow).values(**key).on_conflict_do_nothing().returning(HubCopyRow.id)):
        session.add_all(HubCopyFileRow(**key, **asdict(file)) for file in held)


def note_use(session: Session, source: ModelSource) -> None:
    """A copy that nobody has used for long may go."""
    if isinstance(source, HubModel):
        copy = (HubCopyRow.id == source.id, HubCopyRow.commit == source.revision)
        session.execute(update(HubCopyRow).where(*copy).values(used_at=func.now()))


def as_json(held: Iterable[HeldFile]) -> list[Json]:
    return [asdict(file) for file in held]


def of_json(value: Iterable[Json]) -> list[HeldFile]:
    return [HeldFile(**entry) for entry in value]
