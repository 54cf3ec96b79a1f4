"""`prunery edit`."""

from typing import Any, get_args

import click

from cli.client import Client
from cli.service import with_client
from jobs.specs import Priority


@click.command(
    epilog="""\b
Examples:
  prunery edit cjob_0192f0c1 --priority high
  prunery edit cjob_0192f0c1 --name final --set stage=done --unset team
\b
Exit codes: 0 it is so now, 2 there is no such job, or its turn has come and its priority does not matter any more.
"""
)
@click.argument("job_id")
@click.option("--name", help="Another name.")
@click.option("--priority", type=click.Choice(get_args(Priority)), help="Of a job that waits or is paused.")
@click.option("--set", "entries", metavar="KEY=VALUE", multiple=True, help="An entry of metadata; may be repeated.")
@click.option("--unset", metavar="KEY", multiple=True, help="An entry of metadata to remove; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON.")
@with_client
def edit(
    client: Client,
    job_id: str,
    name: str | None,
    priority: str | None,
    entries: tuple[str, ...],
    unset: tuple[str, ...],
    as_json: bool,
) -> None:
    """Give the job JOB_ID another name, priority or metadata."""
    patch: dict[str, Any] = {"name": name, "priority": priority}
    patch = {key: value for key, value in patch.items() if value is not None}
    metadata: dict[str, str | None] = dict.fromkeys(unset)
    for entry in entries:
        key, is_pair, value = entry.partition("=")
        if not is_pair:
            raise click.BadParameter(f"{entry} is not KEY=VALUE.", param_hint="--set")
        metadata[key] = value
    if metadata:
        patch["metadata"] = metadata
    if not patch:
        raise click.UsageError("Say what to change: --name, --priority, --set or --unset.")
    job = client.change(job_id, patch)
    click.echo(job.model_dump_json(indent=2) if as_json else f"{job.id} is changed.")
