"""`prunery list`."""

import json
from itertools import islice

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.client import Client
from cli.outcome import STYLES, model_name
from cli.resources import Job
from cli.service import with_client
from jobs.states import Status

# Below this many columns there is no room for the model's name.
WIDE = 100


@click.command(
    "list",
    epilog="""\b
Example:
  prunery list --status running
  prunery list --json | jq -r '.[].id'
""",
)
@click.option("--status", type=click.Choice([str(status) for status in Status]), help="Only jobs that stand so.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most this many.")
@click.option("--json", "as_json", is_flag=True, help="Print the jobs as a JSON array.")
@with_client
def list_jobs(client: Client, status: str | None, limit: int, as_json: bool) -> None:
    """List the jobs, the newest first."""
    jobs = list(islice(client.list(status=status, page_size=min(limit, 100)), limit))
    if as_json:
        click.echo(json.dumps([job.model_dump(mode="json") for job in jobs], indent=2))
    elif jobs:
        console = Console()
        console.print(_table(jobs, console.width))
    else:
        click.echo("There are no jobs.", err=True)


def _table(jobs: list[Job], width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    # What is cut off here cannot be used.
    table.add_column("id", no_wrap=True, min_width=max(len(job.id) for job in jobs))
    table.add_column("status", no_wrap=True, min_width=max(len(_state(job)) for job in jobs))
    table.add_column("created", no_wrap=True, min_width=len("12-31 23:59"))
    table.add_column("name", no_wrap=True, overflow="ellipsis")
    wide = width >= WIDE
    if wide:
        table.add_column("model", no_wrap=True, overflow="ellipsis")
    for job in jobs:
        name = job.name or ("" if wide else model_name(job.config).rpartition("/")[2])
        row: list[str | Text] = [job.id, _state(job), f"{job.created_at.astimezone():%m-%d %H:%M}", name]
        table.add_row(*row, *([model_name(job.config)] if wide else []))
    return table


def _state(job: Job) -> Text:
    state = Text(str(job.status), style=STYLES[job.status])
    if job.status is Status.RUNNING and job.progress and job.progress.percent is not None:
        state.append(f" {job.progress.percent:.0f} %")
    return state
