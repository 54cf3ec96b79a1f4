"""`prunery demo`: the whole way from a real model to a smaller one that loads, on this machine."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from cli.byte_bar import ByteBar
from cli.client import Client, ClientError
from cli.connection import Connection
from cli.demo import model, proof, recipe, report, text
from cli.demo.failures import DemoFailed
from cli.download import download_model
from cli.endings import ended_tidily
from cli.exits import Exit
from cli.failure import describe
from cli.follow import Follower
from cli.logs import describe as describe_event
from cli.outcome import plan, reasons
from cli.progress import duration, open_display
from cli.recipe import Recipe, assign, merged, with_sources
from cli.recipe_options import Assignment
from cli.resources import Job
from cli.stack.stack import Stack
from jobs.states import Status, Verb

# The service is a child of this process: if it is away for longer, it is gone.
PATIENCE_SECONDS = 20.0


@click.command(
    epilog="""\b
Example:
  prunery demo
  python -c 'from transformers import pipeline; pipeline("text-generation", "prunery-demo/model")'
\b
Exit codes: 0 the model is there and loads, 1 something went wrong, 130 interrupted.
"""
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("prunery-demo"),
    show_default=True,
    help="Where to keep everything: the model, the text, the service's data and logs.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    type=Assignment(),
    help="Change the demo's recipe, such as method.ratio=0.5 or base_model=FOLDER.",
)
@click.pass_context
def demo(ctx: click.Context, folder: Path, assignments: tuple[tuple[str, Any], ...]) -> None:
    """Compress a real model from end to end and show the result.

    Starts the whole service on this machine, has it remove 30 % of SmolLM2-135M-Instruct while it trains on the Python
    language reference, downloads the result, loads it with stock transformers, and stops the service. Takes about ten
    minutes on two CPU cores.
    """
    console = Console(highlight=False)
    root = folder.absolute()
    began = time.monotonic()
    try:
        with ended_tidily():
            changes = with_sources(assign({}, assignments), Path())
            job = _make(console, root, changes)
            words = proof.generate(root / "model", recipe.PROMPT)
    except Exception as error:
        failure = describe(error)
        if failure is None and not isinstance(error, DemoFailed):
            raise
        for line in failure.lines if failure else [str(error)]:
            click.echo(line, err=True)
        click.echo(
            f"The demo failed after {duration(time.monotonic() - began)}. Everything it started is stopped.", err=True
        )
        click.echo(f"Logs: {_logs(root)}", err=True)
        ctx.exit(Exit.FAILURE)
    _show(console, job, root / "model", words)
    console.print(f"\nAll of it took {duration(time.monotonic() - began)}; the service is stopped.")
    click.echo(f"model: {root / 'model'}")


def _make(console: Console, root: Path, changes: Recipe) -> Job:
    """The finished job, its model downloaded; the service is stopped again."""

    def announce(line: str) -> None:
        console.print(Text(line), soft_wrap=not console.is_terminal)

    base_model = changes.get("base_model") or model.find(root / "downloads", announce)
    corpus = text.prepare(root / "text")
    announce(
        f"Text: the Python language reference, {corpus.train_characters:,} characters to train on, "
        f"{corpus.held_out_characters:,} held out"
    )
    settings = {"PRUNERY_LOCAL_ROOTS": json.dumps([base_model["path"]])} if "path" in base_model else {}
    with (
        Stack(root / "service", settings=settings, announce=announce) as stack,
        Client(Connection(stack.url, stack.api_key)) as client,
    ):
        _cancel_leftovers(client)
        ids = _upload(console, client, corpus)
        job = _run(console, client, stack, merged(recipe.job(*ids), {**changes, "base_model": base_model}))
        # Nobody can ask the service for it later.
        (_logs(root) / "job.log").write_text("".join(f"{describe_event(event)}\n" for event in client.events(job.id)))
        if job.status is not Status.SUCCEEDED:
            raise DemoFailed("\n  ".join([f"The demo's job {job.status}.", *reasons(job)]))
        shutil.rmtree(root / "model", ignore_errors=True)
        download_model(client, job, root / "model")
        return job


def _logs(root: Path) -> Path:
    return root / "service" / "logs"


def _cancel_leftovers(client: Client) -> None:
    """Jobs of an earlier demo that was killed would run first."""
    for job in client.list():
        if not job.finished:
            client.act(job.id, Verb.CANCEL, {})


def _upload(console: Console, client: Client, corpus: text.Corpus) -> list[str]:
    with ByteBar(console) as bar:
        ids = []
        for path in (corpus.train, corpus.held_out):
            bar.begin(path.name, path.stat().st_size)
            ids.append(client.upload(path, bar.advance).id)
    return ids


def _run(console: Console, client: Client, stack: Stack, spec: Recipe) -> Job:
    def check() -> None:
        if (failure := stack.failure()) is not None:
            raise failure

    job = client.create(spec)
    console.print(f"Job: {job.id}" + (f"; {plan(job.plan)}" if job.plan else ""), soft_wrap=not console.is_terminal)
    try:
        with open_display(console) as display:
            return Follower(client, display, patience=PATIENCE_SECONDS, check=check).follow(job.id)
    except ClientError:
        # It is better said by the part of the service that failed.
        check()
        raise


def _show(console: Console, job: Job, folder: Path, words: str) -> None:
    assert job.result is not None
    report.show_numbers(console, job.result)
    report.show_words(console, job.result["samples"])
    console.print(Text.assemble("\nIn a clean process, transformers loaded it with\n"))
    for line in proof.loading_lines(folder):
        console.print(Text(f"  {line}", style="bold"), soft_wrap=True)
    console.print(Text(f"\nand wrote: {' '.join(words.split())}"))
