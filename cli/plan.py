"""`prunery plan`."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cli import numbers
from cli.client import Refused
from cli.recipe import Recipe
from cli.recipe_options import with_recipe
from cli.recipe_spec import read_here
from cli.resources import Problem
from jobs.specs import JobSpec

Planned = Mapping[str, Any]

COUNTS = {
    "query_heads": "query heads per layer",
    "kv_heads": "KV heads per layer",
    "ffn": "FFN channels per layer",
    "parameters": "parameters",
    "block_parameters": "block parameters",
}


@click.command(
    epilog="""\b
Examples:
  prunery plan --model HuggingFaceTB/SmolLM2-135M --data train.jsonl --ratio 0.3
  prunery plan recipe.yaml --set method.budget.allocation=protected --json
"""
)
@with_recipe
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON instead of a table.")
def plan(recipe: Recipe, as_json: bool) -> None:
    """Show what a job would come to: architecture, sizes and where it loads. No weight is read.

    Takes the same RECIPE and options as `prunery submit`, and needs no service.
    """
    show(planned(read_here(recipe)), as_json=as_json)


def planned(spec: JobSpec) -> Planned | None:
    """The plan, or None if the model cannot be looked at from here.

    Raises:
        Refused: the job cannot be planned.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spec.json"
        file.write_text(spec.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "app.dry_run", str(file)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    said = json.loads(done.stdout)
    if "problem" in said:
        raise Refused(Problem.model_validate(said["problem"]))
    found: Planned | None = said["plan"]
    return found


def show(found: Planned | None, *, as_json: bool) -> None:
    """Print a plan."""
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if found is None:
        click.echo("The hub does not answer from here, so that only the job itself can tell.")
        return
    console = Console()
    console.print(_table(found))
    for line in _remarks(found):
        console.print(line, highlight=False)


def _table(found: Planned) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("", "before", "after", ""):
        table.add_column(title, justify="left" if not title else "right")
    before = found["layers"] + found["layers_removed"]
    table.add_row("layers", f"{before}", f"{found['layers']}", numbers.change(before, found["layers"]))
    for key, name in COUNTS.items():
        old, new = found[key]["before"], found[key]["after"]
        table.add_row(name, f"{old:,}", f"{new:,}", numbers.change(old, new))
    if found["bytes"]:
        old, new = found["bytes"]["before"], found["bytes"]["after"]
        table.add_row("weight files", numbers.size(old), numbers.size(new), numbers.change(old, new))
    return table


def _remarks(found: Planned) -> Iterator[str]:
    yield f"{found['ratio']:.2%} of the block parameters go. Loads in {', '.join(found['loads_in'])}."
    for form in found["formats"]:
        if form["format"] != "safetensors":
            place = f"revision {form['revision']}" if form["revision"] else form["file"]
            remark = f" ({form['remark']})" if form["remark"] else ""
            yield f"{form['format']}: {place}, for {', '.join(form['loads_in'])}{remark}."
    if found["memory"]:
        yield f"A GPU needs about {found['memory'] / 1e9:.1f} GB for it."
    if found["per_layer"]:
        kept = ", ".join(f"{layer['kv_heads']}/{layer['ffn']}" for layer in found["per_layer"])
        yield f"KV heads/FFN channels layer by layer: {kept}."
    if not found["widths_known"]:
        yield "Scores will tell what each layer keeps; heads and channels are the most there can be."
    if found["stored_parameters"]:
        yield (
            f"Layers differ, so in safetensors narrow ones are padded with zeros: {found['stored_parameters']:,} "
            "parameters are stored" + ("." if found["widths_known"] else " at most.")
        )
