"""The `prunery` command: its subcommands are loaded when they are used, so that help comes at once."""

from importlib import import_module
from typing import Any, NamedTuple

import click


class Lazy(NamedTuple):
    """Where a command lives, and what the list of commands says about it."""

    place: str  # module:attribute
    summary: str


COMMANDS = {
    "up": Lazy("cli.up:up", "Start the whole service on this machine."),
    "demo": Lazy("cli.demo.command:demo", "Compress a real model from end to end and show the result."),
    "submit": Lazy("cli.submit:submit", "Ask for a compression job."),
    "status": Lazy("cli.status:status", "Show how a job stands."),
    "watch": Lazy("cli.watch:watch", "Follow a job until it ends."),
    "list": Lazy("cli.list:list_jobs", "List the jobs."),
    "logs": Lazy("cli.logs:logs", "Show what happened to a job."),
    "cancel": Lazy("cli.verbs:cancel", "Stop a job."),
    "pause": Lazy("cli.verbs:pause", "Let a job rest, its work kept in a checkpoint."),
    "resume": Lazy("cli.verbs:resume", "Let a paused or failed job go on from its checkpoint."),
    "finish": Lazy("cli.verbs:finish", "Have a job publish what it has come to."),
    "checkpoints": Lazy("cli.checkpoints:checkpoints", "Show what a job can go on from."),
    "publish": Lazy("cli.checkpoints:publish", "Make a model of a checkpoint, while its job goes on."),
    "retry": Lazy("cli.verbs:retry", "Let a job that ended begin anew."),
    "edit": Lazy("cli.edit:edit", "Give a job another name, priority or metadata."),
    "upload": Lazy("cli.upload:upload", "Send a model of this machine, to be the base of jobs."),
    "download": Lazy("cli.download:download", "Fetch the model that a job made."),
    "models": Lazy("cli.models:models", "Manage models: versions, aliases, deprecation, deletion."),
    "doctor": Lazy("cli.doctor:doctor", "Say what is wrong with a service, and what to do."),
    "webhooks": Lazy("cli.webhooks:webhooks", "Tell other programs what happens to jobs."),
    "keys": Lazy("cli.keys:keys", "Make, list, rotate and revoke API keys."),
    "projects": Lazy("cli.projects:projects", "Manage projects and their limits."),
    "plan": Lazy("cli.plan:plan", "Show what a job would come to, without touching weights."),
    "compress": Lazy("cli.compress:compress", "Run the engine alone, without a service."),
}


class Prunery(click.Group):
    """Subcommands by name, and every expected error as one message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            from cli.failure import describe

            failure = describe(error)
            if failure is None:
                raise
            failure.show()
            raise click.exceptions.Exit(failure.code) from error
        except KeyboardInterrupt:
            from cli.exits import Exit

            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(Exit.INTERRUPTED) from None


@click.group(
    cls=Prunery,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Example:
  prunery up                                    # in one terminal
  prunery submit --model HuggingFaceTB/SmolLM2-135M --data train.jsonl --ratio 0.3 --watch
  prunery download cjob_0192f0c1 --to small     # in another

\b
Every command answers with 0 success, 1 failure, 2 bad input, 3 cancelled, 130 interrupted.
""",
)
@click.version_option(package_name="prunery", prog_name="prunery")
def main() -> None:
    """Prunery makes large language models smaller.

    It fine-tunes a model with LoRA while it removes attention heads and FFN channels, and publishes a
    checkpoint that any tool for Hugging Face models loads.
    """
