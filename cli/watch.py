"""`prunery watch`."""

import click
from rich.console import Console

from cli.client import Client
from cli.exits import Exit, of
from cli.follow import Follower
from cli.outcome import show_end
from cli.progress import open_display
from cli.resources import Job
from cli.service import with_client


@click.command(
    epilog="""\b
Example:
  prunery watch cjob_0192f0c1
\b
Exit codes: 0 the job succeeded, 1 it failed, 2 there is no such job, 3 it was cancelled,
130 you stopped watching (Ctrl-C); the job goes on.
"""
)
@click.argument("job_id")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON when it has ended.")
@with_client
@click.pass_context
def watch(ctx: click.Context, client: Client, job_id: str, as_json: bool) -> None:
    """Follow the job JOB_ID until it ends.

    Short outages of the service are waited for. Progress goes to the standard error, the outcome to the standard
    output.
    """
    ctx.exit(watch_job(client, job_id, as_json=as_json))


def watch_job(client: Client, job_id: str, *, as_json: bool) -> Exit:
    """Follow a job on the screen; the exit code tells how it ended, or that the user went away."""
    try:
        job = follow_on_screen(client, job_id)
    except KeyboardInterrupt:
        click.echo(f"The job goes on.\n  prunery watch {job_id}\n  prunery cancel {job_id}", err=True)
        return Exit.INTERRUPTED
    if as_json:
        click.echo(job.model_dump_json(indent=2))
    else:
        show_end(Console(), job)
    return of(job.status)


def follow_on_screen(client: Client, job_id: str) -> Job:
    with open_display(Console(stderr=True)) as display:
        return Follower(client, display).follow(job_id)
