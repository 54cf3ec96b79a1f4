"""Versions that are made of uploaded files: how a model comes here that no job has made."""

from fastapi import APIRouter

from app import problems, registry, versions
from app.audit import AuditDep
from app.callers import ModelWriter
from app.deps import DoorDep
from app.model_schemas import MODELS, VersionWithFiles
from app.upload_schemas import NewVersion

router = APIRouter(prefix=MODELS, tags=["models"])


@router.post("/{namespace}/{name}/versions", status_code=201, responses=problems.responses(400, 404, 413, 422))
def create_version(
    namespace: str, name: str, wanted: NewVersion, door: DoorDep, caller: ModelWriter, audit: AuditDep
) -> VersionWithFiles:
    """Make uploaded files the newest version, under `main`: a model that jobs can take as their base."""
    with door.sessions() as session:
        registry.model(session, namespace, name, project_id=caller.project_id)
        files = versions.held(session, wanted, project_id=caller.project_id)
    facts, named = versions.check(door, files), versions.named_by_git(door, files)
    with door.sessions.begin() as session:
        model = registry.owned(session, namespace, name, project_id=caller.project_id)
        versions.held(session, wanted, project_id=caller.project_id)  # and locked until the version names them
        row = versions.create(session, model, f"{namespace}/{name}", wanted, named, facts)
        audit.record(session, "model.upload", model.id, model=f"{namespace}/{name}", commit=row.commit)
        names = [ref.name for ref in registry.refs(session, model.id) if ref.commit == row.commit]
        return VersionWithFiles.with_files(row, names, registry.files(session, row))
