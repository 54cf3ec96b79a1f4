"""The pictures of a report: training, kept units, before and after. Drawn off screen, alike for page and model card.

The colours are Okabe and Ito's, which the colour-blind can tell apart; what matters is told by shape or label as well.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from worker.engine.report import Report

INK, MUTED, GRID, PANEL = "#1f2328", "#656d76", "#d8dee4", "#ffffff"
DENSE, FINETUNED, PRUNED = "#999999", "#e69f00", "#0072b2"

WIDTH = 9.0
"""Inches."""

DPI = 160

STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.facecolor": PANEL,
    "figure.facecolor": PANEL,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "prunery",
}

IN_SVG = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PANEL: "var(--panel)",
    DENSE: "var(--dense)",
}
"""A page in dark colours gives these others."""

Draw = Callable[[Report], Figure]


def png(draw: Draw, report: Report, path: Path) -> None:
    """Write a picture on a white ground, which is readable on a dark page as well."""
    with matplotlib.rc_context(STYLE):
        figure = draw(report)
        FigureCanvasAgg(figure)
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})


def svg(draw: Draw, report: Report) -> str:
    """A picture as an element of a page that defines the colours `IN_SVG`; its words are text."""
    with matplotlib.rc_context(STYLE):
        figure = draw(report)
        FigureCanvasSVG(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    element = buffer.getvalue()
    element = element[element.index("<svg") :]
    return _recoloured(element, IN_SVG)


def _recoloured(element: str, colours: Mapping[str, str]) -> str:
    for colour, name in colours.items():
        element = element.replace(colour, name)
    return element
