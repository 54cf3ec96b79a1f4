"""Loss and sparsity over the steps of a run, with its cuts."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from worker.engine.history import REFERENCE, Step
from worker.engine.pictures import FINETUNED, GRID, INK, MUTED, PRUNED, WIDTH
from worker.engine.report import Report, Teacher

SMOOTHED_FROM = 40
"""Steps from which on a running mean makes the course of the loss plainer."""

PHASES = ("scoring", "pruning", "recovering")


def draw(report: Report) -> Figure:
    """Both runs over their own steps; a cut is a line through both panels and a mark on the sparsity."""
    history = report.history
    first = history.first_step
    pruned = [step for step in history.steps if step.phase != REFERENCE]
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    losses, sparsity = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    cuts = [event.step - first for event in history.prunes]
    for axes in (losses, sparsity):
        for cut in cuts:
            axes.axvline(cut, color=GRID, linewidth=0.8, zorder=0)
        axes.grid(axis="y")
        axes.yaxis.set_major_locator(MaxNLocator(5))
    reference = [step for step in history.steps if step.phase == REFERENCE]
    if reference:
        _loss(losses, reference, 0, FINETUNED, "dense, fine-tuned alike", "--")
    _loss(losses, pruned, first, PRUNED, _learner(report.teacher), "-")
    losses.set_ylabel("training loss, nats per token")
    _phases(losses, pruned, first)
    sparsity.step(
        [0, *(step.step - first for step in pruned)],
        [0.0, *(100 * step.sparsity for step in pruned)],
        where="post",
        color=PRUNED,
    )
    sparsity.plot(
        cuts, [100 * event.sparsity for event in history.prunes], "v", color=INK, markersize=4, label="cut", zorder=3
    )
    sparsity.set_ylabel("block parameters\nremoved, %")
    sparsity.set_xlabel("optimizer step")
    sparsity.set_ylim(bottom=0)
    sparsity.set_xlim(0, max((step.step - first for step in pruned), default=1))
    sparsity.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels()
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _learner(teacher: Teacher | None) -> str:
    """What the pruned model's loss is of: with a teacher's part in it, it does not compare with one of text alone."""
    return "pruned" if teacher is None else f"pruned (its teacher weighs {teacher.weight:.0%} in this loss)"


def _loss(axes: Axes, steps: Sequence[Step], first: int, colour: str, name: str, style: str) -> None:
    places, losses = [step.step - first for step in steps], [step.loss for step in steps]
    if len(steps) < SMOOTHED_FROM:
        axes.plot(places, losses, style, color=colour, linewidth=1.6, label=name)
        return
    axes.plot(places, losses, "-", color=colour, linewidth=0.6, alpha=0.35)
    axes.plot(places, running_mean(losses, len(losses) // 20), style, color=colour, linewidth=1.8, label=name)


def running_mean(values: Sequence[float], span: int) -> list[float]:
    """At each place the mean of the last `span` values, of fewer at the start."""
    total, means = 0.0, []
    for place, value in enumerate(values):
        total += value
        if place >= span:
            total -= values[place - span]
        means.append(total / min(place + 1, span))
    return means


def _phases(axes: Axes, steps: Sequence[Step], first: int) -> None:
    """The phases along the upper edge, each over its steps if there is room."""
    if not steps:
        return
    last = steps[-1].step - first
    for phase in PHASES:
        places = [step.step - first for step in steps if step.phase == phase]
        if places and len(places) > 0.1 * last:
            axes.text(
                (places[0] + places[-1]) / 2, 1.01, phase, color=MUTED, fontsize=8, ha="center", va="bottom",
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
