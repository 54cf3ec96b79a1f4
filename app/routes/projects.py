"""Projects, for those who operate the service: administrators of the default project."""

from functools import partial

from fastapi import APIRouter, Depends, Response
from sqlalchemy.orm import Session

from app import problems, projects
from app.audit import AuditDep
from app.callers import Administrator
from app.deps import DoorDep
from app.idempotency import OnceDep
from app.keyset import PlaceDep
from app.tenant_schemas import NewProject, Project, ProjectChange, ProjectList
from jobs import errors
from jobs.tables import ProjectRow

PROJECTS = "/v1/projects"


async def _operators_only(caller: Administrator) -> None:
    if not caller.operates:
        raise errors.Forbidden(
            "Projects are managed by administrators of the default project.",
            hint="Ask whoever operates the service.",
        )


router = APIRouter(prefix=PROJECTS, tags=["projects"], dependencies=[Depends(_operators_only)])


@router.post("", status_code=201, responses=problems.responses(400, 404, 409, 413, 422))
def create_project(wanted: NewProject, door: DoorDep, audit: AuditDep, once: OnceDep, response: Response) -> Project:
    """Make a project. Its first key is made with POST /v1/api_keys and its project_id."""

    def create(session: Session) -> ProjectRow:
        made = projects.create(session, **wanted.model_dump())
        audit.record(session, "project.create", made.id, **wanted.model_dump(exclude_defaults=True))
        return made

    with door.sessions.begin() as session:
        row = once.run(
            session,
            wanted.model_dump_json(),
            first=partial(create, session),
            again=partial(projects.get, session),
        )
    response.headers["Location"] = f"{PROJECTS}/{row.id}"
    return Project.of(row)


@router.get("", responses=problems.responses(400, 422))
def list_projects(door: DoorDep, place: PlaceDep, response: Response) -> ProjectList:
    """All projects: the default one, then the newest first."""
    with door.sessions() as session:
        page = ProjectList.of(projects.page(session, place))
    if page.has_more and page.last_id:
        place.link(response, PROJECTS, page.last_id)
    return page


@router.get("/{project_id}", responses=problems.responses(404, 422))
def get_project(project_id: str, door: DoorDep) -> Project:
    """A project and its limits."""
    with door.sessions() as session:
        return Project.of(projects.get(session, project_id))


@router.patch("/{project_id}", responses=problems.responses(400, 404, 409, 413, 422))
def change_project(project_id: str, change: ProjectChange, door: DoorDep, audit: AuditDep) -> Project:
    """Change the name or the limits; a limit of null is the one of the settings."""
    values = change.model_dump(exclude_unset=True)
    if values.get("name", "") is None:
        del values["name"]
    with door.sessions.begin() as session:
        row = projects.change(session, project_id, values)
        audit.record(session, "project.change", project_id, **values)
    return Project.of(row)


@router.delete("/{project_id}", status_code=204, responses=problems.responses(404, 409, 422))
def delete_project(project_id: str, door: DoorDep, audit: AuditDep) -> None:
    """Remove a project that has no jobs and no files, and its keys with it."""
    with door.sessions.begin() as session:
        projects.remove(session, project_id)
        audit.record(session, "project.delete", project_id)
