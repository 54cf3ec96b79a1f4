"""`prunery submit`."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import uuid4

import click

from cli.client import Absent, Client, ClientError, is_outage
from cli.exits import EXIT_CODES
from cli.follow import patiently
from cli.outcome import plan
from cli.recipe import Recipe
from cli.recipe_options import with_recipe
from cli.resources import Job
from cli.service import with_client
from cli.uploads import upload_texts
from cli.watch import watch_job

PATIENCE_SECONDS = 60.0


@click.command(
    epilog=f"""\b
Examples:
  prunery submit --model HuggingFaceTB/SmolLM2-135M --data train.jsonl --ratio 0.3 --watch
  prunery submit recipe.yaml --steps 500 --set method.lora.rank=16
\b
A recipe.yaml:
  base_model: HuggingFaceTB/SmolLM2-135M     # or a folder, a .gguf file, s3://…
  dataset: train.jsonl                       # uploaded; or hub:ID, s3://…
  method: {{type: lora_prune, ratio: 0.3}}
\b
{EXIT_CODES}
"""
)
@with_recipe
@click.option("--watch", is_flag=True, help="Follow the job until it ends.")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON instead of its id.")
@with_client
@click.pass_context
def submit(ctx: click.Context, client: Client, recipe: Recipe, watch: bool, as_json: bool) -> None:
    """Ask for a compression job, by a RECIPE file (YAML or JSON), by options, or by both.

    An option replaces what the file says. Texts on this machine are uploaded first. Prints the id of the job.
    """
    job = submitted(client, upload_texts(client, recipe))
    if as_json and not watch:
        click.echo(job.model_dump_json(indent=2))
    elif not as_json:
        click.echo(job.id)
    if job.plan:
        click.echo(f"Plan: {plan(job.plan)}", err=True)
    if watch:
        ctx.exit(watch_job(client, job.id, as_json=as_json))
    click.echo(f"Follow it: prunery watch {job.id}", err=True)


def submitted(client: Client, spec: Mapping[str, Any]) -> Job:
    """The job that was made of `spec`: one, even if the service breaks off and has to be asked again.

    Raises:
        Refused: the spec is wrong.
        Unreachable: nothing was there, or broke off and did not come back.
    """
    return insisted(partial(client.create, spec, key=uuid4().hex))


def insisted(create: Callable[[], Job]) -> Job:
    """What a request with a key has made, sent again if the service breaks off."""
    try:
        return create()
    except Absent:
        raise
    except ClientError as error:
        if not is_outage(error):
            raise
        click.echo(f"{error} Asking again; no second job will come of it.", err=True)
    return patiently(create, partial(click.echo, err=True), patience=PATIENCE_SECONDS)
