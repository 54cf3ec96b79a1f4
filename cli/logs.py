"""`prunery logs`."""

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from cli.client import Client
from cli.exits import Exit, of
from cli.follow import POLL_SECONDS, patiently
from cli.resources import Event
from cli.service import with_client
from jobs.states import FINAL, Status

STYLES = {"warning": "yellow", "error": "red", "stderr": "dim"}


@click.command(
    epilog="""\b
Example:
  prunery logs cjob_0192f0c1 --follow
  prunery logs cjob_0192f0c1 --json | jq 'select(.type == "prune")'
\b
Exit codes with --follow: 0 the job succeeded, 1 it failed, 3 it was cancelled. Else 0.
"""
)
@click.argument("job_id")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job has ended.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@with_client
@click.pass_context
def logs(ctx: click.Context, client: Client, job_id: str, follow: bool, as_json: bool) -> None:
    """Show what happened to the job JOB_ID: its phases, what was removed when, and what its engine said."""
    console = Console()
    last = ""
    for event in _events(client, job_id, follow=follow):
        last = event.type
        if as_json:
            click.echo(event.model_dump_json())
        else:
            style = STYLES.get(str(event.data.get("level")), "bold" if event.type != "log" else "")
            console.print(Text(f"{event.at.astimezone():%H:%M:%S} {describe(event)}", style=style), soft_wrap=True)
    if follow:
        ctx.exit(of(Status(last)) if last in FINAL else Exit.FAILURE)


def _events(client: Client, job_id: str, *, follow: bool) -> Iterator[Event]:
    """The job's events in their order; those to come too, until the one that ends it."""
    client.get(job_id)
    seen = 0
    while True:
        for event in patiently(partial(_page, client, job_id, seen), _complain):
            seen = event.seq
            yield event
            if event.type in FINAL:
                return
        if not follow:
            return
        time.sleep(POLL_SECONDS)


def _page(client: Client, job_id: str, seen: int) -> list[Event]:
    return list(client.events(job_id, after=seen))


def _complain(message: str) -> None:
    click.echo(message, err=True)


def describe(event: Event) -> str:
    """One event as a line."""
    data = event.data
    match event.type:
        case "log":
            level = data.get("level", "info")
            return ("" if level in ("info", "stderr") else f"{level}: ") + str(data.get("message", ""))
        case "phase":
            return f"phase {data.get('phase')}"
        case "prune":
            return f"pruned {_pairs(data)}"
        case _:
            return " ".join(part for part in (event.type, _pairs(data)) if part)


def _pairs(data: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in data.items() if value is not None)
