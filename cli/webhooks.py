"""`prunery webhooks`: who is told what happens to jobs, and whether they heard it."""

import json
from collections.abc import Sequence
from itertools import islice

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.client import Client
from cli.exits import Exit
from cli.resources import Resource, WebhookDelivery, WebhookEndpoint
from cli.service import with_client
from cli.webhook_calls import WebhookCalls

STYLES = {"delivered": "green", "failed": "red", "pending": "yellow", "on": "green", "disabled": "red"}

WIDE = 120

with_json = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
with_limit = click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most this many."
)


@click.group(
    epilog="""\b
Example:
  prunery webhooks create https://example.com/hook --event '*.succeeded' --event '*.failed'
  prunery webhooks test we_0192f0c1
  prunery webhooks deliveries we_0192f0c1 --status failed
  prunery webhooks redeliver we_0192f0c1 msg_0192f0c1
"""
)
def webhooks() -> None:
    """Tell other programs what happens to jobs.

    Messages are signed by Standard Webhooks 1.0. The secret to check them with is shown when an endpoint is made.
    """


@webhooks.command()
@click.argument("target", metavar="ADDRESS")
@click.option("--event", "events", multiple=True, help="Type of event, with * for anything; all if not given.")
@click.option("--description", help="What it is for.")
@with_json
@with_client
def create(client: Client, target: str, events: tuple[str, ...], description: str | None, as_json: bool) -> None:
    """Have ADDRESS told from now on. Prints the endpoint's id, then its secret, which nobody can show again."""
    made = WebhookCalls(client).create(target, events=events or ("*",), description=description)
    if as_json:
        click.echo(made.model_dump_json(indent=2))
        return
    click.echo(made.id)
    click.echo(made.secret)


@webhooks.command("list")
@with_limit
@with_json
@with_client
def list_endpoints(client: Client, limit: int, as_json: bool) -> None:
    """List the endpoints, the newest first."""
    endpoints = list(islice(WebhookCalls(client).endpoints(), limit))
    if as_json:
        _print_json(endpoints)
    elif endpoints:
        _print_table(("id", "state", "url", "events"), [_endpoint(each) for each in endpoints])
    else:
        click.echo("There are no webhook endpoints.", err=True)


@webhooks.command()
@click.argument("endpoint_id")
@with_client
def delete(client: Client, endpoint_id: str) -> None:
    """Forget the endpoint ENDPOINT_ID and all that was sent to it."""
    WebhookCalls(client).delete(endpoint_id)


@webhooks.command()
@click.argument("endpoint_id")
@with_client
def enable(client: Client, endpoint_id: str) -> None:
    """Send to the endpoint ENDPOINT_ID again."""
    WebhookCalls(client).switch(endpoint_id, on=True)


@webhooks.command()
@click.argument("endpoint_id")
@with_client
def disable(client: Client, endpoint_id: str) -> None:
    """Send nothing more to the endpoint ENDPOINT_ID."""
    WebhookCalls(client).switch(endpoint_id, on=False)


@webhooks.command("rotate-secret")
@click.argument("endpoint_id")
@click.option(
    "--overlap",
    "overlap_seconds",
    type=click.IntRange(min=0),
    default=24 * 3600,
    show_default=True,
    help="For so many seconds both secrets sign.",
)
@with_client
def rotate_secret(client: Client, endpoint_id: str, overlap_seconds: int) -> None:
    """Replace the secret of the endpoint ENDPOINT_ID, and print the new one."""
    click.echo(WebhookCalls(client).rotate_secret(endpoint_id, overlap_seconds).secret)


@webhooks.command()
@click.argument("endpoint_id")
@click.option("--status", type=click.Choice(["pending", "delivered", "failed"]), help="Only messages that stand so.")
@with_limit
@with_json
@with_client
def deliveries(client: Client, endpoint_id: str, status: str | None, limit: int, as_json: bool) -> None:
    """List what was or is to be sent to the endpoint ENDPOINT_ID, the newest first."""
    found = list(islice(WebhookCalls(client).deliveries(endpoint_id, status=status), limit))
    if as_json:
        _print_json(found)
    elif found:
        _print_table(("id", "status", "tries", "type", "created", "job"), [_delivery(each) for each in found])
    else:
        click.echo("Nothing was sent to it.", err=True)


@webhooks.command()
@click.argument("endpoint_id")
@click.argument("delivery_id")
@with_json
@with_client
@click.pass_context
def redeliver(ctx: click.Context, client: Client, endpoint_id: str, delivery_id: str, as_json: bool) -> None:
    """Send the message DELIVERY_ID again, and wait for what comes of it."""
    calls = WebhookCalls(client)
    before = len(calls.delivery(endpoint_id, delivery_id).log)
    calls.redeliver(endpoint_id, delivery_id)
    _tell(ctx, calls.attempted(endpoint_id, delivery_id, before), as_json=as_json)


@webhooks.command()
@click.argument("endpoint_id")
@with_json
@with_client
@click.pass_context
def test(ctx: click.Context, client: Client, endpoint_id: str, as_json: bool) -> None:
    """Send a test to the endpoint ENDPOINT_ID, and wait for what comes of it."""
    calls = WebhookCalls(client)
    _tell(ctx, calls.attempted(endpoint_id, calls.test(endpoint_id).id, 0), as_json=as_json)


def _tell(ctx: click.Context, delivery: WebhookDelivery, *, as_json: bool) -> None:
    """How the last attempt went, and the exit code that says so."""
    last = delivery.log[-1] if delivery.log else None
    if as_json:
        click.echo(delivery.model_dump_json(indent=2))
    elif last is None:
        click.echo("Nothing was sent yet: does the sender of webhooks run?", err=True)
    elif last.status_code is None:
        click.echo(f"No answer: {last.error}", err=True)
    else:
        click.echo(f"{delivery.id}: answered {last.status_code} after {last.seconds:.2f} s", err=True)
    ctx.exit(Exit.SUCCESS if last is not None and last.ok else Exit.FAILURE)


def _endpoint(endpoint: WebhookEndpoint) -> tuple[str, Text, str, str]:
    state = f"disabled ({endpoint.disabled_reason})" if endpoint.disabled_at else "on"
    if endpoint.failing_since and not endpoint.disabled_at:
        state = f"failing since {endpoint.failing_since.astimezone():%m-%d %H:%M}"
    shown = Text(state, style=STYLES.get(state.partition(" ")[0], "yellow"))
    return endpoint.id, shown, endpoint.url, ", ".join(endpoint.events)


def _delivery(delivery: WebhookDelivery) -> tuple[str, Text, str, str, str, str]:
    return (
        delivery.id,
        Text(delivery.status, style=STYLES[delivery.status]),
        str(delivery.attempts),
        delivery.type.removeprefix("compression."),
        f"{delivery.created_at.astimezone():%m-%d %H:%M}",
        delivery.job_id or "",
    )


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    console = Console()
    # What is cut off cannot be used, so the last columns are left out where there is no room for them.
    shown = [at for at, column in enumerate(columns) if console.width >= WIDE or column not in ("created", "job")]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for at in shown:
        whole = columns[at] not in ("url", "events")
        width = max(len(row[at]) for row in rows) if whole else None
        table.add_column(columns[at], no_wrap=whole, min_width=width, overflow="fold")
    for row in rows:
        table.add_row(*(row[at] for at in shown))
    console.print(table)


def _print_json(found: Sequence[Resource]) -> None:
    click.echo(json.dumps([each.model_dump(mode="json") for each in found], indent=2))
