"""`prunery projects`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from cli import tenants
from cli.client import Client
from cli.keys import as_json
from cli.numbers import size
from cli.service import with_client
from cli.tenants import Project

LIMITS = {
    "max_running": "Jobs that run at once.",
    "max_queued": "Jobs that wait.",
    "max_storage_bytes": "Bytes of published models and uploaded files.",
    "max_uploaded_bytes": "Bytes of uploaded files.",
}
Command = TypeVar("Command", bound=Callable[..., Any])


class Limit(click.ParamType[int | str]):
    """A number, or the word for what the settings say."""

    name = "number|default"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "default":
            return value
        if not value.isascii() or not value.isdigit():
            self.fail(f"{value!r} is neither a number nor 'default'.", param, ctx)
        return int(value)


def with_limits(command: Command) -> Command:
    """Add an option for each limit; `default` takes it back."""
    for name, summary in reversed(LIMITS.items()):
        command = click.option("--" + name.replace("_", "-"), name, type=Limit(), help=summary)(command)
    return command


def _given(limits: dict[str, int | str | None]) -> dict[str, int | None]:
    return {name: None if value == "default" else int(value) for name, value in limits.items() if value is not None}


@click.group(
    epilog="""\b
Example:
  prunery projects create nlp --max-running 2 --max-queued 50
  prunery keys create their-admin --scope admin --project proj_0192f0c1
  prunery projects change proj_0192f0c1 --max-running default
"""
)
def projects() -> None:
    """Manage projects and their limits; a key of an administrator of the project `default` is needed."""


@projects.command()
@click.argument("name")
@with_limits
@as_json
@with_client
def create(client: Client, /, name: str, as_json: bool, **limits: int | str | None) -> None:
    """Make a project called NAME."""
    _show(tenants.create_project(client, name, _given(limits)), as_json)


@projects.command("list")
@as_json
@with_client
def list_projects(client: Client, as_json: bool) -> None:
    """List the projects."""
    found = list(tenants.projects(client))
    if as_json:
        click.echo("[" + ",\n".join(project.model_dump_json(indent=2) for project in found) + "]")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("id", "name", "running", "queued", "storage", "uploads"):
        table.add_column(column, no_wrap=column == "id")
    for project in found:
        counts = [_text(project.max_running), _text(project.max_queued)]
        sizes = [_size(project.max_storage_bytes), _size(project.max_uploaded_bytes)]
        table.add_row(project.id, project.name, *counts, *sizes)
    Console().print(table)


@projects.command()
@click.argument("project_id")
@click.option("--name", help="Another name.")
@with_limits
@as_json
@with_client
def change(client: Client, /, project_id: str, name: str | None, as_json: bool, **limits: int | str | None) -> None:
    """Change the name or the limits of the project PROJECT_ID."""
    values = _given(limits) | ({"name": name} if name else {})
    _show(tenants.change_project(client, project_id, values), as_json)


@projects.command()
@click.argument("project_id")
@with_client
def remove(client: Client, project_id: str) -> None:
    """Remove the project PROJECT_ID, which must have no jobs and no files, and its keys."""
    tenants.remove_project(client, project_id)
    click.echo(f"{project_id} is removed.")


def _show(project: Project, as_json: bool) -> None:
    if as_json:
        click.echo(project.model_dump_json(indent=2))
        return
    click.echo(project.id)
    limits = {name: getattr(project, name) for name in LIMITS}
    said = ", ".join(f"{name} {value}" for name, value in limits.items() if value is not None)
    click.echo(f"{project.name}: {said or 'limits as the settings say'}.", err=True)


def _text(limit: int | None) -> str:
    return "default" if limit is None else str(limit)


def _size(limit: int | None) -> str:
    return "default" if limit is None else size(limit)
