"""`prunery cancel`."""

import click

from cli.client import Client
from cli.service import with_client
from jobs.states import Status


@click.command(
    epilog="""\b
Example:
  prunery cancel cjob_0192f0c1
\b
Exit codes: 0 the job is or will be cancelled, 2 there is no such job, or it has already ended otherwise.
"""
)
@click.argument("job_id")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON.")
@with_client
def cancel(client: Client, job_id: str, as_json: bool) -> None:
    """Stop the job JOB_ID: at once if it waits, within seconds if it runs."""
    job = client.cancel(job_id)
    if as_json:
        click.echo(job.model_dump_json(indent=2))
    elif job.status is Status.CANCELLED:
        click.echo(f"{job.id} is cancelled.")
    else:
        click.echo(f"{job.id} is being stopped. See it end: prunery watch {job.id}")
