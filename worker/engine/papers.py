"""What lies beside the weights: the report, the recipe that made them, the model card, the licence."""

import shutil
from pathlib import Path

import yaml

from jobs.specs import JobSpec
from worker.engine import comparison_picture, model_card, pictures, report_page, training_picture, units_picture
from worker.engine.base_models import BaseModel
from worker.engine.proofs import Proofs
from worker.engine.report import Report

PICTURES = {
    "report_comparison.png": comparison_picture.draw,
    "report_training.png": training_picture.draw,
    "report_units.png": units_picture.draw,
}
"""The pictures that the model card shows, by their files beside it."""


def write(
    folder: Path,
    spec: JobSpec,
    base: BaseModel,
    report: Report,
    proofs: Proofs,
) -> None:
    """Add the report with its page and pictures, recipe.yaml, README.md and the base model's licence files."""
    (folder / "compression_report.json").write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    recipe = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    title = model_card.title(spec, base)
    for name, draw in PICTURES.items():
        pictures.png(draw, report, folder / name)
    (folder / "report.html").write_text(report_page.text(report, title), encoding="utf-8")
    (folder / "README.md").write_text(model_card.text(spec, base, report, proofs), encoding="utf-8")
    for licence in base.folder.glob("LICENSE*"):
        shutil.copyfile(licence, folder / licence.name)
