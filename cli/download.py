"""`prunery download`."""

import json
from pathlib import Path

import click
from rich.console import Console

from cli.byte_bar import ByteBar
from cli.client import Client
from cli.exits import Exit
from cli.numbers import size
from cli.resources import Job
from cli.service import with_client
from cli.transfer import Fetched, fetch_all
from jobs.states import Status


@click.command(
    epilog="""\b
Example:
  prunery download cjob_0192f0c1 --to small
  python -c 'from transformers import pipeline; print(pipeline("text-generation", "small")("Once upon a time"))'
\b
Exit codes: 0 the whole model is there, 1 it is not, 2 there is no such job, or none that succeeded.
"""
)
@click.argument("job_id")
@click.option(
    "--to",
    "folder",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to put the model.  [default: a folder with the job's id]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the folder and its files as JSON.")
@with_client
@click.pass_context
def download(ctx: click.Context, client: Client, job_id: str, folder: Path | None, as_json: bool) -> None:
    """Fetch the model that the job JOB_ID made, and print its folder.

    Every file is checked by its hash. Run it again after an interruption: it goes on where it stopped.
    """
    job = client.get(job_id)
    if job.status is not Status.SUCCEEDED:
        click.echo(f"error: {job.id} has no model to download: it is {job.status}.", err=True)
        ctx.exit(Exit.REFUSED)
    target = (folder or Path(job.id)).absolute()
    fetched = download_model(client, job, target)
    if as_json:
        files = [{**item.artifact.model_dump(mode="json"), "already_there": item.already_there} for item in fetched]
        click.echo(json.dumps({"folder": str(target), "files": files}, indent=2))
        return
    total = sum(item.artifact.bytes for item in fetched)
    kept = sum(item.already_there for item in fetched)
    there = f", {kept} of them already there" if kept else ""
    click.echo(f"{len(fetched)} files, {size(total)}{there}; all hashes are right.", err=True)
    click.echo(target)


def download_model(client: Client, job: Job, folder: Path) -> list[Fetched]:
    with ByteBar(Console(stderr=True)) as bar:
        return fetch_all(client, job.id, client.artifacts(job.id), folder, bar)
