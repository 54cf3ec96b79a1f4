"""`prunery checkpoints` and `prunery publish`."""

import json
from collections.abc import Sequence
from functools import partial
from uuid import uuid4

import click
from rich.console import Console
from rich.table import Table

from cli.client import Client
from cli.exits import EXIT_CODES
from cli.numbers import perplexity, size
from cli.resources import Checkpoint
from cli.service import with_client
from cli.submit import insisted
from cli.watch import watch_job


@click.command(
    epilog="""\b
Example:
  prunery checkpoints cjob_0192f0c1
  prunery publish cjob_0192f0c1 4 --watch
"""
)
@click.argument("job_id")
@click.option("--json", "as_json", is_flag=True, help="Print the checkpoints as a JSON array.")
@with_client
def checkpoints(client: Client, job_id: str, as_json: bool) -> None:
    """Show what the job JOB_ID can go on from: its newest checkpoints, and the best one."""
    found = client.checkpoints(job_id)
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
    elif found:
        Console().print(_table(found))
    else:
        click.echo("There are no checkpoints.", err=True)


def _table(found: Sequence[Checkpoint]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("number", "step", "removed", "perplexity", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("written", no_wrap=True)
    table.add_column("", no_wrap=True)
    for one in found:
        removed = "" if one.sparsity is None else f"{one.sparsity:.1%}"
        held_out = "" if one.perplexity is None else perplexity(one.perplexity)
        remarks = [*(["best"] if one.is_best else []), *([] if one.publishable else ["nothing removed yet"])]
        table.add_row(
            *(str(one.number), str(one.step), removed, held_out, size(one.bytes)),
            *(f"{one.created_at.astimezone():%m-%d %H:%M}", ", ".join(remarks)),
        )
    return table


@click.command(
    epilog=f"""\b
Example:
  prunery publish cjob_0192f0c1 4 --watch
  prunery publish cjob_0192f0c1 4 --format gguf_q8_0
\b
{EXIT_CODES}
"""
)
@click.argument("job_id")
@click.argument("number", type=click.IntRange(min=1))
@click.option("--name", help="Of the job that publishes it; made of the other one's if left out.")
@click.option(
    "--format", "formats", multiple=True, help="What to write beside safetensors, in place of what JOB_ID does."
)
@click.option("--watch", is_flag=True, help="Follow the job that publishes it until it ends.")
@click.option("--json", "as_json", is_flag=True, help="Print that job as JSON instead of its id.")
@with_client
@click.pass_context
def publish(
    ctx: click.Context,
    client: Client,
    job_id: str,
    number: int,
    name: str | None,
    formats: tuple[str, ...],
    watch: bool,
    as_json: bool,
) -> None:
    """Make a model of checkpoint NUMBER of the job JOB_ID, as it is, while that job goes on.

    A job of its own does it, whose id is printed. The model is a revision of the one that JOB_ID publishes to.
    """
    output = {"output": {**client.get(job_id).config["output"], "formats": formats}} if formats else {}
    asked = {**({"name": name} if name else {}), **output}
    job = insisted(partial(client.publish, job_id, number, asked, key=uuid4().hex))
    if watch:
        ctx.exit(watch_job(client, job.id, as_json=as_json))
    click.echo(job.model_dump_json(indent=2) if as_json else job.id)
    click.echo(f"Follow it: prunery watch {job.id}", err=True)
