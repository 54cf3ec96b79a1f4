"""The options that describe a job, for the commands that take a recipe."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from cli import recipe
from cli.recipe import Recipe

P = ParamSpec("P")
R = TypeVar("R")


class Assignment(click.ParamType[tuple[str, Any]]):
    """`key.path=value`."""

    name = "KEY.PATH=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        try:
            return recipe.parse_assignment(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


OPTIONS = (
    click.argument(
        "file", metavar="[RECIPE]", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
    ),
    click.option(
        "--model",
        metavar="MODEL",
        help="Hub id (ID@REVISION), folder, FILE.gguf, s3://BUCKET/PREFIX or registry:NAMESPACE/NAME[@REVISION].",
    ),
    click.option(
        "--data", metavar="TEXT", help="Text to train on: FILE.jsonl or .txt, hub:ID[@REVISION][:SPLIT] or s3://…"
    ),
    click.option("--eval-data", metavar="TEXT", help="Held-out text to measure on; else a part of --data is held out."),
    click.option("--ratio", type=float, help="Part of the block parameters to remove, such as 0.3."),
    click.option("--steps", type=int, help="Training steps."),
    click.option("--name", help="A name for the job."),
    click.option("--repository", metavar="NAME", help="The model to publish to.  [default: after the job's name]"),
    click.option("--public", is_flag=True, help="Let every key of the service read a model that is new."),
    click.option("--method", metavar="TYPE", help="How to compress.  [default: lora_prune]"),
    click.option("--set", "assignments", multiple=True, type=Assignment(), help="Any other field of the recipe."),
)


def with_recipe(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options to a command, and give it the recipe they make as the argument `recipe`."""

    @functools.wraps(command)
    def described(
        *args: Any,
        file: Path | None,
        model: str | None,
        data: str | None,
        eval_data: str | None,
        ratio: float | None,
        steps: int | None,
        name: str | None,
        repository: str | None,
        public: bool,
        method: str | None,
        assignments: tuple[tuple[str, Any], ...],
        **rest: Any,
    ) -> R:
        given = {
            "name": name,
            "base_model": model and recipe.model_source(model),
            "dataset": data and recipe.data_source(data),
            "evaluation.dataset": eval_data and recipe.data_source(eval_data, pointer="/evaluation/dataset"),
            "output.repository": repository,
            "output.visibility": "public" if public else None,
            "method.type": method,
            "method.ratio": ratio,
            "method.train.steps": steps,
        }
        chosen = [(path, value) for path, value in given.items() if value is not None]
        written = _read(file)
        if not (written or chosen or assignments):
            raise click.UsageError("Name a recipe file, or describe the job with --model, --data and --ratio.")
        return command(*args, recipe=_complete(written, [*chosen, *assignments]), **rest)

    for option in reversed(OPTIONS):
        described = option(described)
    return described


def _read(file: Path | None) -> Recipe:
    return recipe.read(file) if file else {}


def _complete(written: Recipe, chosen: list[tuple[str, Any]]) -> Recipe:
    """The file's recipe with what the options say, which may use the short names too."""
    whole = recipe.with_sources(recipe.assign(written, chosen), Path())
    method = whole.get("method")
    if method is None:
        whole["method"] = {"type": "lora_prune"}
    elif isinstance(method, dict):
        method.setdefault("type", "lora_prune")
    return whole
