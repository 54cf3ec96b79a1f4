"""Which units every layer keeps: a map of KV groups and of FFN channels, drawn from the lists of kept units."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from worker.engine.pictures import GRID, INK, MUTED, PRUNED, WIDTH
from worker.engine.report import LayerUnits, Report

COLUMNS = 192
"""Columns of a map at most; of more units, neighbours share a column, whose colour is the part kept."""

KEPT = LinearSegmentedColormap.from_list("kept", [to_rgba(PRUNED, 0.0), to_rgba(PRUNED, 1.0)])
"""From nothing, the ground of the page, to the full colour."""


def draw(report: Report) -> Figure:
    """One row per layer of the base model, the first at the top; a layer that is gone is crossed out."""
    plan, kept = report.plan, report.kept
    layers = plan.layers + plan.layers_removed
    figure = Figure(figsize=(WIDTH, min(10.0, 2.0 + 0.16 * layers)), layout="constrained")
    groups, channels, parts = figure.subplots(1, 3, sharey=True, width_ratios=[2, 5, 2])
    _map(groups, kept, [layer.kv_groups for layer in kept], layers, plan.kv_heads.before)
    groups.set_title("KV groups")
    groups.set_xlabel("KV head of the base model")
    groups.set_ylabel("layer of the base model")
    groups.set_yticks(_ticks(layers))
    _map(channels, kept, [layer.ffn_channels for layer in kept], layers, plan.ffn.before)
    channels.set_title("FFN channels")
    channels.set_xlabel("channel of the base model")
    for axes in (groups, channels, parts):
        axes.tick_params(which="minor", length=0)
    _parts(parts, kept, plan.kv_heads.before, plan.ffn.before)
    bar = figure.colorbar(channels.images[0], ax=channels, location="bottom", shrink=0.5, aspect=40, pad=0.02)
    bar.set_ticks([0, 0.5, 1], labels=["none kept", "half", "all kept"])
    bar.outline.set_edgecolor(GRID)
    return figure


def cells(units: Sequence[int], total: int) -> NDArray[np.float64]:
    """The part kept of each of at most `COLUMNS` runs of neighbouring units, all about equally long."""
    kept_U = np.zeros(total)
    kept_U[list(units)] = 1.0
    return np.array([run.mean() for run in np.array_split(kept_U, min(total, COLUMNS))])


def _map(axes: Axes, kept: Sequence[LayerUnits], units: Sequence[Sequence[int]], layers: int, total: int) -> None:
    grid = np.zeros((layers, min(total, COLUMNS)))
    for layer, those in zip(kept, units, strict=True):
        grid[layer.index] = cells(those, total)
    axes.imshow(
        grid, cmap=KEPT, vmin=0, vmax=1, aspect="auto", interpolation="nearest",
        extent=(-0.5, total - 0.5, layers - 0.5, -0.5),
    )  # fmt: skip
    for gone in sorted(set(range(layers)) - {layer.index for layer in kept}):
        axes.axhspan(gone - 0.5, gone + 0.5, facecolor="none", edgecolor=MUTED, hatch="xxxx", linewidth=0)
    axes.spines[["top", "right"]].set_visible(True)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if total <= 32 and layers <= 64:
        axes.set_xticks(np.arange(0.5, total - 1), minor=True)
        axes.set_yticks(np.arange(0.5, layers - 1), minor=True)
        axes.grid(which="minor", color=GRID)


def _parts(axes: Axes, kept: Sequence[LayerUnits], groups: int, channels: int) -> None:
    """How much each layer keeps, for what a map shows is no number."""
    places = [layer.index for layer in kept]
    axes.barh(places, [100 * len(layer.ffn_channels) / channels for layer in kept], height=0.7, color=PRUNED)
    axes.plot([100 * len(layer.kv_groups) / groups for layer in kept], places, "D", color=INK, markersize=3)
    axes.set_title("Kept per layer")
    axes.set_xlim(0, 104)
    axes.set_xlabel("%: FFN channels (bars),\nKV groups (diamonds)")
    axes.grid(axis="x")


def _ticks(layers: int) -> list[int]:
    step = max(1, -(-layers // 16))
    return list(range(0, layers, step))
