"""Size, speed and quality before and after."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from worker.engine import amounts
from worker.engine.pictures import DENSE, FINETUNED, INK, MUTED, PRUNED, WIDTH
from worker.engine.report import Report

Bar = tuple[float, str]
"""A value and its colour."""


@dataclass(frozen=True)
class Row:
    """One quantity, as its models have it; bars of two rows do not compare."""

    name: str
    show: Callable[[float], str]
    bars: tuple[Bar, ...]


def draw(report: Report) -> Figure:
    """A column each for size, speed and quality."""
    columns = [
        (title, found)
        for title, rows in (
            ("Size", _size(report)), ("Speed", _speed(report)), ("Quality", _quality(report)),
        )
        if (found := list(rows))
    ]  # fmt: skip
    most = max(sum(len(row.bars) + 1 for row in rows) for _, rows in columns)
    figure = Figure(figsize=(WIDTH, 0.9 + 0.26 * most), layout="constrained")
    for axes, (title, rows) in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        _column(axes, rows, most)
        axes.set_title(title)
    names = [("dense", DENSE), ("dense, fine-tuned alike", FINETUNED), ("pruned", PRUNED)]
    if report.dense_finetuned is None:
        del names[1]
    handles = [axes.barh([0], [0], color=colour, label=name) for name, colour in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _size(report: Report) -> Iterator[Row]:
    dense, pruned = report.dense, report.pruned
    yield _pair("parameters", amounts.count, dense.parameters, pruned.parameters)
    yield _pair("weight files", amounts.size, dense.bytes, pruned.bytes)
    if dense.peak_bytes is not None and pruned.peak_bytes is not None:
        yield _pair("peak memory", amounts.size, dense.peak_bytes, pruned.peak_bytes)


def _speed(report: Report) -> Iterator[Row]:
    dense, pruned = report.dense, report.pruned
    for name, before, after in (
        ("prefill, tokens/s", dense.prefill_tokens_per_second, pruned.prefill_tokens_per_second),
        ("decode, tokens/s", dense.decode_tokens_per_second, pruned.decode_tokens_per_second),
    ):
        if before is not None and after is not None:
            yield _pair(name, amounts.rate, before, after)


def _quality(report: Report) -> Iterator[Row]:
    bars: list[Bar] = [(report.dense.perplexity, DENSE)]
    if report.dense_finetuned is not None:
        bars.append((report.dense_finetuned.perplexity, FINETUNED))
    yield Row("perplexity, lower is better", amounts.perplexity, (*bars, (report.pruned.perplexity, PRUNED)))
    for task, metrics in list(report.tasks.items())[:4]:
        for metric in ("acc_norm", "acc"):
            if metric in metrics:
                yield _pair(f"{task}, {metric}", amounts.percent, metrics[metric].dense, metrics[metric].pruned)
                break


def _pair(name: str, show: Callable[[float], str], dense: float, pruned: float) -> Row:
    return Row(name, show, ((dense, DENSE), (pruned, PRUNED)))


def _column(axes: Axes, rows: Sequence[Row], height: int) -> None:
    """Each row under its name; bars are drawn to the row's largest, and say what they are."""
    place = 0.0
    for row in rows:
        axes.text(0, place, row.name, color=MUTED, va="center")
        largest = max(value for value, _ in row.bars)
        for value, colour in row.bars:
            place += 1
            part = value / largest if largest else 0
            axes.barh(place, part, height=0.8, color=colour)
            axes.text(part + 0.02, place, row.show(value), color=INK, va="center")
        place += 1
    axes.set_xlim(0, 1.35)
    axes.set_ylim(height - 0.4, -0.6)
    axes.axis("off")
