"""`prunery compress`."""

import json
import os
from pathlib import Path

import click
from rich.console import Console

from cli import engine, plan
from cli.endings import ended_tidily
from cli.exits import Exit
from cli.outcome import measured
from cli.progress import label, open_display
from cli.recipe import Recipe
from cli.recipe_options import with_recipe
from cli.recipe_spec import read_here
from cli.resources import JobFailure


@click.command(
    epilog="""\b
Examples:
  prunery compress --model HuggingFaceTB/SmolLM2-135M --data train.jsonl --ratio 0.3 --out small
  prunery compress recipe.yaml --set method.scope=[mlp_channels] --out small
\b
Exit codes: 0 the model is in the folder, 1 it failed, 2 bad input, 130 interrupted.
But for 0 the folder is as it was before. Checkpoints stay whatever happens.
"""
)
@with_recipe
@click.option("--dry-run", is_flag=True, help="Only show what it would come to, as `prunery plan` does.")
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to put the model; it must not exist, or be empty.",
)
@click.option(
    "--checkpoints",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to keep the state of the run, as often as the recipe's checkpoint says; it stays afterwards.",
)
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint in --checkpoints.")
@click.option("--json", "as_json", is_flag=True, help="Print the report's summary as JSON instead of the folder.")
@click.pass_context
def compress(
    ctx: click.Context,
    recipe: Recipe,
    dry_run: bool,
    out: Path | None,
    checkpoints: Path | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Run the compression engine alone on this machine, without any service.

    Takes the same RECIPE and options as `prunery submit`, and prints the folder of the model.
    """
    if dry_run:
        plan.show(plan.planned(read_here(recipe)), as_json=as_json)
        return
    if out is None:
        raise click.MissingParameter(ctx=ctx, param_hint="--out", param_type="option")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError("start it without torchrun: it starts a process for each GPU itself.", ctx)
    target = out.absolute()
    if target.exists() and any(target.iterdir()):
        raise click.BadParameter(f"{target} is not empty.", ctx, param_hint="--out")
    _check_checkpoints(ctx, checkpoints, resume)
    spec = read_here(recipe)
    try:
        with ended_tidily(), open_display(Console(stderr=True)) as display:
            summary = engine.run(spec, target, display, checkpoints.absolute() if checkpoints else None)
    except engine.EngineFailed as error:
        _explain(error.failure, error.tail)
        ctx.exit(Exit.FAILURE)
    if as_json:
        click.echo(json.dumps(summary, indent=2))
        return
    for line in measured(summary):
        click.echo(line, err=True)
    click.echo(target)


def _check_checkpoints(ctx: click.Context, folder: Path | None, resume: bool) -> None:
    """Nobody shall go on by accident, nor begin anew while thinking to go on."""
    if folder is None:
        if resume:
            raise click.BadParameter("name the folder with --checkpoints too.", ctx, param_hint="--resume")
        return
    there = folder.is_dir() and any(path.name.startswith("checkpoint-") for path in folder.iterdir())
    if there and not resume:
        raise click.BadParameter(
            f"{folder} holds checkpoints; add --resume to go on from them, or name another folder.",
            ctx,
            param_hint="--checkpoints",
        )
    if resume and not there:
        raise click.BadParameter(f"there is no checkpoint in {folder}.", ctx, param_hint="--resume")


def _explain(failure: JobFailure, tail: str) -> None:
    where = f" while {label(failure.phase)}" if failure.phase else ""
    click.echo(click.style("error: ", fg="red", bold=True) + f"{failure.message} ({failure.code}{where})", err=True)
    if failure.hint:
        click.echo(f"  hint: {failure.hint}", err=True)
    if failure.code in ("internal", "engine_crashed") and tail:
        click.echo(f"The engine's last words:\n{tail}", err=True)
