"""`prunery models`."""

import json
from collections.abc import Sequence
from itertools import islice

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import numbers, registry
from cli.client import Client
from cli.outcome import local_time
from cli.registry import Model, Version
from cli.resources import Resource
from cli.service import with_client

SHORT_COMMIT = 12

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
one_model = click.argument("model", metavar="MODEL")


@click.group(
    epilog="""\b
Example:
  prunery models list
  prunery models versions smollm2-135m-p50
  prunery models alias smollm2-135m-p50 champion --to cjob_0192f0c1
  prunery models deprecate smollm2-135m-p50 "Use smollm2-135m-p40."

MODEL is a name of your project's, or NAMESPACE/NAME.
"""
)
def models() -> None:
    """List, describe, name, deprecate, delete and restore models."""


@models.command("list")
@click.option("--search", metavar="TEXT", help="Only models with this somewhere in the name or the description.")
@click.option("--deleted", is_flag=True, help="Those that were deleted and can be restored.")
@as_json
@with_client
def list_models(client: Client, search: str | None, deleted: bool, as_json: bool) -> None:
    """List the project's models, the newest first."""
    filters = {"q": search or "", "deleted": "true" if deleted else ""}
    found = list(registry.models(client, {name: value for name, value in filters.items() if value}))
    if as_json:
        _echo(found)
    elif found:
        Console().print(_models(found))
    else:
        click.echo("There are no such models." if search or deleted else "There are no models.", err=True)


@models.command()
@one_model
@click.option("--revision", default="main", show_default=True, help="A branch, tag, alias or commit.")
@as_json
@with_client
def show(client: Client, model: str, revision: str, as_json: bool) -> None:
    """Show MODEL, with one version and its files."""
    found = registry.model(client, model)
    chosen = registry.version(client, model, revision)
    if as_json:
        whole = found.model_dump(mode="json") | {"version": chosen.model_dump(mode="json")}
        click.echo(json.dumps(whole, indent=2))
        return
    console = Console()
    console.print(_description(found, chosen))
    for file in chosen.files:
        console.print(Text(f"  {numbers.size(file.bytes):>10}  {file.path}"), soft_wrap=True)


@models.command()
@one_model
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most this many.")
@as_json
@with_client
def versions(client: Client, model: str, limit: int, as_json: bool) -> None:
    """List the versions of MODEL, the newest first, with the jobs that made them."""
    found = list(islice(registry.versions(client, model), limit))
    if as_json:
        _echo(found)
    elif found:
        Console().print(_versions(found))
    else:
        click.echo("The model has no versions.", err=True)


@models.command()
@one_model
@click.argument("alias")
@click.option("--to", "revision", help="What it is to stand for: a branch, tag, alias or commit.")
@click.option("--remove", is_flag=True, help="Forget it.")
@with_client
def alias(client: Client, model: str, alias: str, revision: str | None, remove: bool) -> None:
    """Have ALIAS, such as champion, stand for a version of MODEL."""
    if remove == (revision is not None):
        raise click.UsageError("Give either --to REVISION or --remove.")
    if revision is None:
        registry.remove_alias(client, model, alias)
        click.echo(f"{alias} is forgotten.")
    else:
        ref = registry.set_alias(client, model, alias, revision)
        click.echo(f"{alias} stands for {ref.commit}.")


@models.command()
@one_model
@click.argument("message", required=False)
@click.option("--undo", is_flag=True, help="It is not to be avoided any more.")
@with_client
def deprecate(client: Client, model: str, message: str | None, undo: bool) -> None:
    """Tell whoever loads MODEL to use another: MESSAGE says which, and why."""
    if undo == (message is not None):
        raise click.UsageError("Give either a message or --undo.")
    changed = registry.change(client, model, {"deprecation": message})
    click.echo(f"{changed.place} is {'deprecated' if changed.deprecation else 'not deprecated any more'}.")


@models.command()
@one_model
@click.option("--revision", help="Only this version, at once and for good: a tag or a commit.")
@with_client
def delete(client: Client, model: str, revision: str | None) -> None:
    """Hide MODEL and all its versions; some days later its files are deleted."""
    if revision is not None:
        registry.remove_version(client, model, revision)
        click.echo(f"{model} has no version {revision} any more.")
        return
    gone = registry.remove(client, model)
    click.echo(f"{gone.place} is deleted; until its files are, this undoes it: prunery models restore {gone.place}")


@models.command()
@one_model
@with_client
def restore(client: Client, model: str) -> None:
    """Bring back MODEL after it was deleted."""
    click.echo(f"{registry.restore(client, model).place} is back.")


def _echo(found: Sequence[Resource]) -> None:
    click.echo("[" + ",\n".join(each.model_dump_json(indent=2) for each in found) + "]")


def _models(found: list[Model]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("model", "visibility", "changed", "state"):
        table.add_column(column, overflow="fold")
    for model in found:
        table.add_row(model.place, model.visibility, local_time(model.updated_at), _state(model))
    return table


def _state(model: Model) -> Text:
    if model.deleted_at is not None:
        return Text("deleted", style="red")
    return Text("") if model.deprecation is None else Text(f"deprecated: {model.deprecation}", style="yellow")


def _versions(found: list[Version]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("commit", "names", "created", "size", "quality"):
        table.add_column(column, no_wrap=column == "commit", overflow="fold")
    for version in found:
        names = "\n".join(version.refs)
        created, size = local_time(version.created_at), numbers.size(version.bytes)
        table.add_row(version.commit[:SHORT_COMMIT], names, created, size, version.quality_line or "")
    return table


def _description(model: Model, version: Version) -> Table:
    lineage = version.lineage
    rows = {
        "model": model.place,
        "description": model.description,
        "visibility": model.visibility,
        "deprecated": model.deprecation,
        "commit": version.commit,
        "names": ", ".join(version.refs),
        "made of": f"{lineage.base_model}" + (f" @ {lineage.base_revision}" if lineage.base_revision else ""),
        "made by": lineage.job,
        "licence": version.license,
        "quality": version.quality_line,
        "size": numbers.size(version.bytes),
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table
