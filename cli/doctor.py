"""`prunery doctor`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click

from cli.connection import CONNECTION_FILE
from cli.stack import environment


@click.command(
    epilog="""\b
Examples:
  prunery doctor                       # of `prunery up` in this folder
  prunery doctor --environment         # of the deployment that PRUNERY_… describes
  prunery doctor --json | jq '.[] | select(.state != "ok")'
\b
Exit codes: 0 all works, 1 something does not, 2 there is nothing to look at.
"""
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=CONNECTION_FILE.parent,
    show_default=True,
    help="The folder of the service that `prunery up` runs.",
)
@click.option("--environment", "from_environment", is_flag=True, help="Look at what the PRUNERY_… variables describe.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as a JSON array.")
@click.pass_context
def doctor(ctx: click.Context, data: Path, from_environment: bool, as_json: bool) -> None:
    """Check a service from its settings to its workers, and say what is wrong and what to do.

    Runs where the service's own processes run: it asks the servers, not the API.
    """
    settings = {} if from_environment or "PRUNERY_DATABASE_URL" in os.environ else _written(data)
    command = [sys.executable, "-P", "-m", "worker.doctor", *(["--json"] if as_json else [])]
    ctx.exit(subprocess.run(command, env=environment.for_service(settings), check=False).returncode)


def _written(data: Path) -> dict[str, str]:
    file = data / "environment.json"
    try:
        settings: dict[str, str] = json.loads(file.read_text())
    except FileNotFoundError:
        raise click.UsageError(
            f"There is no {file}: no service was started there. Name its folder with --data, or set the PRUNERY_… "
            "variables of another one and add --environment."
        ) from None
    return settings
