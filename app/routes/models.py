"""The registry: models of the caller's project, and public ones of others."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from app import models, problems, registry
from app.audit import AuditDep
from app.callers import ModelReader, ModelWriter
from app.deps import DoorDep
from app.idempotency import OnceDep
from app.keyset import PlaceDep
from app.model_schemas import (
    MODELS,
    Alias,
    AliasTarget,
    Model,
    ModelChange,
    ModelList,
    NewModel,
    Ref,
    RefList,
    VersionList,
    VersionWithFiles,
    Visibility,
)
from jobs.registry_tables import ModelRow, RefRow

router = APIRouter(prefix=MODELS, tags=["models"])

ONE = "/{namespace}/{name}"


@router.post("", status_code=201, responses=problems.responses(400, 404, 409, 413, 422))
def create_model(
    wanted: NewModel, door: DoorDep, caller: ModelWriter, audit: AuditDep, once: OnceDep, response: Response
) -> Model:
    """Make a model without versions, to which jobs can then publish. Jobs make what they need by themselves."""

    def create(session: Session) -> ModelRow:
        made = models.create(session, project_id=caller.project_id, **wanted.model_dump())
        audit.record(session, "model.create", made.id, **wanted.model_dump(exclude_defaults=True))
        return made

    with door.sessions.begin() as session:
        again = partial(models.get, session, project_id=caller.project_id)
        row = once.run(session, wanted.model_dump_json(), first=partial(create, session), again=again)
        model = Model.of(row, models.namespace(session, row.project_id))
    response.headers["Location"] = model.urls.self
    return model


@router.get("", responses=problems.responses(400, 422))
def list_models(
    door: DoorDep,
    caller: ModelReader,
    place: PlaceDep,
    response: Response,
    q: Annotated[str | None, Query(max_length=200, description="Somewhere in the name or the description.")] = None,
    visibility: Visibility | None = None,
    deprecated: Annotated[bool | None, Query(description="Only those that are to be avoided, or none of them.")] = None,
    deleted: Annotated[bool, Query(description="Those that were deleted and can be restored, and no others.")] = False,
) -> ModelList:
    """The models of the project, the newest first."""
    with door.sessions() as session:
        found = models.page(
            session,
            place,
            project_id=caller.project_id,
            deleted=deleted,
            deprecated=deprecated,
            visibility=visibility,
            text=q,
        )
        page = ModelList.of(found, models.namespace(session, caller.project_id))
    if page.has_more and page.last_id:
        given = {"deprecated": deprecated, "deleted": deleted or None}
        flags = {name: str(value).lower() for name, value in given.items() if value is not None}
        place.link(response, MODELS, page.last_id, q=q, visibility=visibility, **flags)
    return page


@router.get(ONE, responses=problems.responses(404, 422))
def get_model(namespace: str, name: str, door: DoorDep, caller: ModelReader) -> Model:
    """A model of the project, or a public one."""
    with door.sessions() as session:
        return Model.of(registry.model(session, namespace, name, project_id=caller.project_id), namespace)


@router.patch(ONE, responses=problems.responses(400, 404, 413, 422))
def change_model(
    namespace: str, name: str, change: ModelChange, door: DoorDep, caller: ModelWriter, audit: AuditDep
) -> Model:
    """Change who may read a model, or what is said of it; `deprecation` tells people to use another."""
    values = change.model_dump(exclude_unset=True)
    if values.get("visibility", "") is None:
        del values["visibility"]
    with door.sessions.begin() as session:
        row = registry.owned(session, namespace, name, project_id=caller.project_id)
        models.change(session, row, values)
        audit.record(session, "model.change", row.id, model=f"{namespace}/{name}", **values)
    return Model.of(row, namespace)


@router.delete(ONE, responses=problems.responses(404, 422))
def delete_model(namespace: str, name: str, door: DoorDep, caller: ModelWriter, audit: AuditDep) -> Model:
    """Hide a model and all its versions. It can be restored for some days, then its files are deleted."""
    with door.sessions.begin() as session:
        row = registry.owned(session, namespace, name, project_id=caller.project_id)
        models.remove(session, row, f"{namespace}/{name}")
        audit.record(session, "model.delete", row.id, model=f"{namespace}/{name}")
    return Model.of(row, namespace)


@router.post(ONE + "/restore", responses=problems.responses(404, 409, 422))
def restore_model(namespace: str, name: str, door: DoorDep, caller: ModelWriter, audit: AuditDep) -> Model:
    """Bring back the last deleted model of this name, with all its versions. One that is not deleted stays as it is."""
    grace = timedelta(days=door.settings.model_days)
    with door.sessions.begin() as session:
        row = models.last_deleted(session, namespace, name, project_id=caller.project_id, grace=grace)
        if row is None:
            return Model.of(registry.owned(session, namespace, name, project_id=caller.project_id), namespace)
        models.restore(session, row)
        audit.record(session, "model.restore", row.id, model=f"{namespace}/{name}")
    return Model.of(row, namespace)


@router.get(ONE + "/versions", responses=problems.responses(400, 404, 422))
def list_versions(
    namespace: str, name: str, door: DoorDep, caller: ModelReader, place: PlaceDep, response: Response
) -> VersionList:
    """The versions of a model, the newest first, each with where it comes from and how good it is."""
    with door.sessions() as session:
        model = registry.model(session, namespace, name, project_id=caller.project_id)
        rows = registry.revisions(session, model.id, limit=place.limit + 1, after=place.after)
        names = _names(registry.refs(session, model.id, [row.commit for row in rows]))
    page = VersionList.of(rows[: place.limit], names, has_more=len(rows) > place.limit)
    if page.has_more and page.last_id:
        place.link(response, f"{MODELS}/{namespace}/{name}/versions", page.last_id)
    return page


@router.get(ONE + "/versions/{revision}", responses=problems.responses(404, 422))
def get_version(namespace: str, name: str, revision: str, door: DoorDep, caller: ModelReader) -> VersionWithFiles:
    """A version by one of its names or its commit, with its files."""
    with door.sessions() as session:
        model = registry.model(session, namespace, name, project_id=caller.project_id)
        row = registry.revision(session, model.id, revision)
        names = _names(registry.refs(session, model.id, [row.commit]))
        return VersionWithFiles.with_files(row, names.get(row.commit, []), registry.files(session, row))


@router.delete(ONE + "/versions/{revision}", status_code=204, responses=problems.responses(404, 409, 422))
def delete_version(
    namespace: str, name: str, revision: str, door: DoorDep, caller: ModelWriter, audit: AuditDep
) -> None:
    """Delete a version that no branch and no alias stands for, and its tags with it. It cannot be restored."""
    with door.sessions.begin() as session:
        row = registry.owned(session, namespace, name, project_id=caller.project_id)
        commit = models.remove_version(session, row, revision)
        audit.record(session, "model.delete_version", row.id, model=f"{namespace}/{name}", commit=commit)


@router.get(ONE + "/refs", responses=problems.responses(404, 422))
def list_refs(namespace: str, name: str, door: DoorDep, caller: ModelReader) -> RefList:
    """All branches, tags and aliases of a model, by name."""
    with door.sessions() as session:
        model = registry.model(session, namespace, name, project_id=caller.project_id)
        return RefList.of(registry.refs(session, model.id))


@router.put(ONE + "/aliases/{alias}", responses=problems.responses(400, 404, 409, 413, 422))
def set_alias(
    namespace: str,
    name: str,
    alias: Alias,
    target: AliasTarget,
    door: DoorDep,
    caller: ModelWriter,
    audit: AuditDep,
) -> Ref:
    """Have an alias, such as `champion`, stand for a version; it moves there if it stood for another."""
    with door.sessions.begin() as session:
        row = registry.owned(session, namespace, name, project_id=caller.project_id)
        ref = models.set_alias(session, row, f"{namespace}/{name}", alias, target.revision)
        about = {"model": f"{namespace}/{name}", "alias": alias, "commit": ref.commit}
        audit.record(session, "model.set_alias", row.id, **about)
    return Ref.model_validate(ref)


@router.delete(ONE + "/aliases/{alias}", status_code=204, responses=problems.responses(404, 422))
def delete_alias(namespace: str, name: str, alias: str, door: DoorDep, caller: ModelWriter, audit: AuditDep) -> None:
    """Forget an alias; what it stood for stays."""
    with door.sessions.begin() as session:
        row = registry.owned(session, namespace, name, project_id=caller.project_id)
        models.remove_alias(session, row, f"{namespace}/{name}", alias)
        audit.record(session, "model.delete_alias", row.id, model=f"{namespace}/{name}", alias=alias)


def _names(refs: list[RefRow]) -> Mapping[str, list[str]]:
    """The names of each commit."""
    found: dict[str, list[str]] = {}
    for ref in refs:
        found.setdefault(ref.commit, []).append(ref.name)
    return found
