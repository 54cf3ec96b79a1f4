"""report.html: one page with everything worth looking at. It loads nothing, so it works anywhere and for ever."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from worker.engine import (
    amounts,
    comparison_picture,
    comparison_table,
    pictures,
    training_picture,
    units_picture,
)
from worker.engine.report import Report

TEMPLATE = Path(__file__).with_name("report_page.html.jinja")


def text(report: Report, title: str) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    drawn = {
        "comparison": comparison_picture.draw,
        "training": training_picture.draw,
        "units": units_picture.draw,
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=title,
        report=report,
        figures={name: Markup(pictures.svg(draw, report)) for name, draw in drawn.items()},
        lines=list(comparison_table.figures(report)),
        tasks=list(comparison_table.tasks(report)),
        percent=amounts.percent,
        perplexity=amounts.perplexity,
    )
