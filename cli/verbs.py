"""`prunery cancel`, `pause`, `resume`, `finish` and `retry`."""

from typing import Any

import click

from cli.client import Client
from cli.resources import Job
from cli.service import with_client
from jobs.states import Status, Verb

EPILOG = """\b
Example:
  {example}
\b
Exit codes: 0 it is done or on its way, 2 there is no such job, or it does not stand so that this could be asked.
"""

_job_id = click.argument("job_id")
_reason = click.option("--reason", help="Why, for those who read the job's events later.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print the job as JSON.")


def _command(verb: Verb, help: str, example: str) -> click.Command:
    @click.command(str(verb), help=help, epilog=EPILOG.format(example=example))
    @_job_id
    @_reason
    @_as_json
    @with_client
    def act(client: Client, job_id: str, reason: str | None, as_json: bool) -> None:
        _act(client, job_id, verb, reason, as_json=as_json)

    return act


cancel = _command(
    Verb.CANCEL,
    "Stop the job JOB_ID: at once if it waits, within seconds if it runs.",
    "prunery cancel cjob_0192f0c1",
)
pause = _command(
    Verb.PAUSE,
    "Let the job JOB_ID rest: its worker writes a checkpoint and is free for others.",
    "prunery pause cjob_0192f0c1 && prunery resume cjob_0192f0c1",
)
finish = _command(
    Verb.FINISH,
    "Have the job JOB_ID stop training and publish what it has come to.",
    "prunery finish cjob_0192f0c1 --reason 'good enough'",
)
retry = _command(
    Verb.RETRY,
    "Let the failed or cancelled job JOB_ID begin anew, without its checkpoints.",
    "prunery retry cjob_0192f0c1",
)


@click.command(epilog=EPILOG.format(example="prunery resume cjob_0192f0c1 --micro-batch-size 1"))
@_job_id
@click.option("--micro-batch-size", type=click.IntRange(min=1), help="Sequences per forward pass from now on.")
@_reason
@_as_json
@with_client
def resume(client: Client, job_id: str, micro_batch_size: int | None, reason: str | None, as_json: bool) -> None:
    """Let the paused, failed or cancelled job JOB_ID go on from its newest checkpoint."""
    overrides = {} if micro_batch_size is None else {"overrides": {"micro_batch_size": micro_batch_size}}
    _act(client, job_id, Verb.RESUME, reason, overrides, as_json=as_json)


def _act(
    client: Client,
    job_id: str,
    verb: Verb,
    reason: str | None,
    further: dict[str, Any] | None = None,
    *,
    as_json: bool,
) -> None:
    job = client.act(job_id, verb, {**({"reason": reason} if reason else {}), **(further or {})})
    click.echo(job.model_dump_json(indent=2) if as_json else f"{job.id} {_stands(job, verb)}")


def _stands(job: Job, verb: Verb) -> str:
    match job.status:
        case Status.CANCELLED:
            return "is cancelled."
        case Status.CANCELLING:
            return f"is being stopped. See it end: prunery watch {job.id}"
        case Status.PAUSED:
            return f"is paused. Let it go on: prunery resume {job.id}"
        case Status.PAUSING:
            return f"is being paused; its worker writes a checkpoint. Let it go on later: prunery resume {job.id}"
        case Status.QUEUED:
            return f"waits for a worker. Follow it: prunery watch {job.id}"
        case _ if verb is Verb.FINISH:
            return f"will publish what it has come to. See it end: prunery watch {job.id}"
        case status:
            return f"is {status}."
