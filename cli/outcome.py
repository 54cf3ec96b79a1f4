"""How a job stands, in words: one table for `status`, a few lines for its end."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import numbers
from cli.progress import details, duration, label, time_left
from cli.resources import Job, Waiting
from jobs.states import Status

STYLES = {
    Status.QUEUED: "yellow",
    Status.RUNNING: "cyan",
    Status.PAUSING: "yellow",
    Status.PAUSED: "blue",
    Status.CANCELLING: "yellow",
    Status.SUCCEEDED: "green",
    Status.FAILED: "red",
    Status.CANCELLED: "magenta",
}

PLANNED = {"query_heads": "heads", "kv_heads": "KV heads", "ffn": "FFN channels", "parameters": "parameters"}


def show_end(console: Console, job: Job) -> None:
    """What came of a job that has ended, and what can be done next."""
    took = "" if job.seconds is None else f" after {duration(job.seconds)}"
    console.print(Text.assemble((str(job.status), f"bold {STYLES[job.status]}"), took, f"  {job.id}"))
    for line in measured(job.result) if job.result else reasons(job):
        console.print(Text(f"  {line}"), soft_wrap=True)
    if job.result and (model := job.result.get("model")):
        console.print(Text(f"  {model} at {job.result.get('commit')}"), soft_wrap=True)
    if job.status is not Status.CANCELLED:
        then = "download" if job.status is Status.SUCCEEDED else "logs"
        console.print(Text(f"  prunery {then} {job.id}", style="bold"))


def show_state(console: Console, job: Job, waiting: Waiting | None = None) -> None:
    """All that matters of a job, field by field; with `waiting` also why it waits."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("id", job.id)
    if job.name:
        table.add_row("name", job.name)
    table.add_row("status", Text(str(job.status), style=f"bold {STYLES[job.status]}"))
    if waiting is not None and waiting.waits:
        table.add_row("waits", f"{waiting.detail} {waiting.ahead} ahead of it.")
    if job.status is Status.RUNNING:
        percent = "" if job.progress is None or job.progress.percent is None else f"{job.progress.percent:.0f} %"
        parts = [label(job.phase or ""), percent]
        parts += [] if job.progress is None else [*details(job.progress), time_left(job.progress)]
        table.add_row("progress", " · ".join(part for part in parts if part))
    table.add_row("model", model_name(job.config))
    table.add_row("created", local_time(job.created_at))
    if job.seconds is not None:
        table.add_row("took", duration(job.seconds))
    if job.attempt > 1:
        table.add_row("attempt", f"{job.attempt}" + (f" of {job.max_attempts}" if job.max_attempts else ""))
    if job.plan:
        table.add_row("plan", plan(job.plan))
    for line in measured(job.result) if job.result else reasons(job):
        table.add_row("", line)
    console.print(table)


def plan(planned: Mapping[str, Any]) -> str:
    """What the job will keep."""
    parts = [
        f"{name} {planned[key]['before']:,} → {planned[key]['after']:,}"
        for key, name in PLANNED.items()
        if key in planned
    ]
    return ", ".join(parts)


def measured(result: Mapping[str, Any]) -> Iterator[str]:
    """The numbers of a report, as far as it has them."""
    dense, pruned = result.get("dense", {}), result.get("pruned", {})
    if "parameters" in dense and "parameters" in pruned:
        counts = (dense["parameters"], pruned["parameters"])
        ratio = (
            f"{100 * result['achieved_ratio']:.2f} % of the block parameters removed, "
            if "achieved_ratio" in result
            else ""
        )
        yield f"{ratio}{numbers.parameters(counts[0])} → {numbers.parameters(counts[1])} parameters"
    if "perplexity" in dense and "perplexity" in pruned:
        reference = (result.get("dense_finetuned") or {}).get("perplexity")
        alike = "" if reference is None else f" (dense after the same tuning {numbers.perplexity(reference)})"
        before, after = numbers.perplexity(dense["perplexity"]), numbers.perplexity(pruned["perplexity"])
        yield f"perplexity {before} → {after}{alike}"


def reasons(job: Job) -> Iterator[str]:
    """Why a job failed, and what to do about it."""
    if job.error is None:
        return
    where = f" while {label(job.error.phase)}" if job.error.phase else ""
    yield f"{job.error.message} ({job.error.code}{where})"
    if job.error.hint:
        yield f"hint: {job.error.hint}"


def model_name(config: Mapping[str, Any]) -> str:
    """The model that a job compresses, as its client named it."""
    model = config.get("base_model") or {}
    return str(model.get("id") or model.get("uri") or model.get("path") or "")


def local_time(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
