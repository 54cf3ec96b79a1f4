"""`prunery status`."""

import click
from rich.console import Console

from cli.client import Client
from cli.exits import of
from cli.outcome import show_state
from cli.service import with_client
from jobs.states import Status


@click.command(
    epilog="""\b
Example:
  prunery status cjob_0192f0c1
  until prunery status cjob_0192f0c1 --json | grep -q succeeded; do sleep 10; done
\b
Exit codes: 0 the job waits, runs or succeeded, 1 it failed, 2 there is no such job, 3 it was cancelled.
"""
)
@click.argument("job_id")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON.")
@with_client
@click.pass_context
def status(ctx: click.Context, client: Client, job_id: str, as_json: bool) -> None:
    """Show how the job JOB_ID stands."""
    job = client.get(job_id)
    if as_json:
        click.echo(job.model_dump_json(indent=2))
    else:
        waiting = client.waiting(job_id) if job.status is Status.QUEUED else None
        show_state(Console(), job, waiting)
    ctx.exit(of(job.status))
