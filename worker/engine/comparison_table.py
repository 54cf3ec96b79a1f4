"""The figures of a report, row by row, as page and model card show them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from worker.engine import amounts
from worker.engine.report import Report


@dataclass(frozen=True)
class Line:
    """A row of the table of figures; what was not measured is empty."""

    name: str
    dense: str
    finetuned: str
    pruned: str
    change: str


MEASURED: tuple[tuple[str, Callable[[float], str], str], ...] = (
    ("prefill, tokens/s", amounts.rate, "prefill_tokens_per_second"),
    ("decode, tokens/s", amounts.rate, "decode_tokens_per_second"),
    ("prefill latency", amounts.duration, "prefill_seconds"),
    ("decode latency per token", amounts.duration, "decode_seconds_per_token"),
    ("peak memory", amounts.size, "peak_bytes"),
)


def figures(report: Report) -> Iterator[Line]:
    """Size, perplexities, speed and memory."""
    dense, pruned, tuned = report.dense, report.pruned, report.dense_finetuned
    yield _line("parameters", "{:,}".format, dense.parameters, pruned.parameters)
    if pruned.stored_parameters != pruned.parameters:
        yield _line("with padding", "{:,}".format, dense.stored_parameters, pruned.stored_parameters)
    yield _line("bytes of weight files", "{:,}".format, dense.bytes, pruned.bytes)
    middle = amounts.perplexity(tuned.perplexity) if tuned else ""
    yield _line("perplexity, held-out text", amounts.perplexity, dense.perplexity, pruned.perplexity, middle)
    for found in report.perplexities:
        yield _line(f"perplexity, {found.protocol.name}", amounts.perplexity, found.dense, found.pruned)
    for name, show, key in MEASURED:
        before, after = getattr(dense, key), getattr(pruned, key)
        if before is not None and after is not None:
            yield _line(name, show, before, after)


def _line(name: str, show: Callable[[float], str], dense: float, pruned: float, finetuned: str = "") -> Line:
    return Line(name, show(dense), finetuned, show(pruned), f"{100 * (pruned / dense - 1):+.1f} %".replace("-", "−"))


def tasks(report: Report) -> Iterator[Line]:
    """The metrics with their standard errors, where those are known."""
    for task, metrics in report.tasks.items():
        for name, metric in metrics.items():
            if name == "questions" or "_stderr" in name:
                continue
            kind, comma, variant = name.partition(",")
            error = metrics.get(f"{kind}_stderr{comma}{variant}")
            errors = (None, None) if error is None else (error.dense, error.pruned)
            dense, pruned = map(_spread, (metric.dense, metric.pruned), errors)
            yield Line(f"{task}, {name}", dense, "", pruned, "")


def _spread(value: float, error: float | None) -> str:
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"
