"""`prunery keys`."""

from datetime import UTC, datetime, timedelta

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import tenants
from cli.client import Client
from cli.service import with_client
from cli.tenants import ApiKey

SCOPES = ("jobs:read", "jobs:write", "models:read", "models:write", "admin")
USUAL = SCOPES[:4]

of_project = click.option("--project", help="Id of another project, for operators.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(
    epilog="""\b
Example:
  prunery keys create ci --days 90
  prunery keys list
  prunery keys rotate key_0192f0c1 --overlap 3600
  prunery keys revoke key_0192f0c1
"""
)
def keys() -> None:
    """Make, list, rotate and revoke API keys; an administrator's key is needed."""


@keys.command(
    epilog="""\b
Example:
  export PRUNERY_API_KEY=$(prunery keys create ci --scope jobs:read --scope jobs:write)
"""
)
@click.argument("name")
@click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, help="What it may do; all but admin if not given."
)
@click.option("--days", type=click.IntRange(min=1), help="It expires after so many; never if not given.")
@of_project
@as_json
@with_client
def create(
    client: Client, name: str, scopes: tuple[str, ...], days: int | None, project: str | None, as_json: bool
) -> None:
    """Make a key called NAME, and print it: it cannot be shown again."""
    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    _show_new(tenants.create_key(client, name, scopes or USUAL, expires_at=expires, project_id=project), as_json)


@keys.command("list")
@of_project
@as_json
@with_client
def list_keys(client: Client, project: str | None, as_json: bool) -> None:
    """List the keys, the newest first, also those that open nothing any more."""
    found = list(tenants.keys(client, project))
    if as_json:
        click.echo("[" + ",\n".join(key.model_dump_json(indent=2) for key in found) + "]")
    elif found:
        Console().print(_table(found))
    else:
        click.echo("There are no keys but the one of the environment.", err=True)


@keys.command()
@click.argument("key_id")
@click.option(
    "--overlap",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seconds for which the old one still opens.",
)
@of_project
@as_json
@with_client
def rotate(client: Client, key_id: str, overlap: int, project: str | None, as_json: bool) -> None:
    """Replace the key KEY_ID by a new one that may do the same, and print that: it cannot be shown again."""
    _show_new(tenants.rotate_key(client, key_id, overlap_seconds=overlap, project_id=project), as_json)


@keys.command()
@click.argument("key_id")
@of_project
@as_json
@with_client
def revoke(client: Client, key_id: str, project: str | None, as_json: bool) -> None:
    """Let the key KEY_ID open nothing any more, within seconds."""
    key = tenants.revoke_key(client, key_id, project_id=project)
    click.echo(key.model_dump_json(indent=2) if as_json else f"{key.name} ({key.prefix}…) is revoked.")


def _show_new(key: ApiKey, as_json: bool) -> None:
    if as_json:
        click.echo(key.model_dump_json(indent=2))
        return
    # The key alone goes to the standard output, so that a script can take it.
    click.echo(key.key)
    ends = f" until {_time(key.expires_at)}" if key.expires_at else ""
    click.echo(f"{key.id}: {', '.join(key.scopes)}{ends}. Keep it: it cannot be shown again.", err=True)


def _table(found: list[ApiKey]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("id", "name", "begins", "scopes", "state", "last used"):
        table.add_column(column, no_wrap=column in ("id", "begins", "scopes"), overflow="fold")
    for key in found:
        used = _time(key.last_used_at) if key.last_used_at else "never"
        table.add_row(key.id, key.name, key.prefix, "\n".join(key.scopes), _state(key), used)
    return table


def _state(key: ApiKey) -> Text:
    if key.revoked_at is not None:
        return Text("revoked", style="red")
    if key.expires_at is None:
        return Text("valid", style="green")
    if key.expires_at <= datetime.now(UTC):
        return Text("expired", style="red")
    return Text(f"until {_time(key.expires_at)}", style="green")


def _time(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M}"
