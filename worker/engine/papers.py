"""What lies beside the weights: the report, the recipe that made them, the model card, the licence."""

import shutil
from pathlib import Path

import yaml

from jobs.specs import JobSpec
from worker.engine import model_card
from worker.engine.base_models import BaseModel
from worker.engine.report import Report


def write(
    folder: Path,
    spec: JobSpec,
    base: BaseModel,
    report: Report,
) -> None:
    """Add compression_report.json, recipe.yaml, README.md and the base model's licence files to `folder`."""
    (folder / "compression_report.json").write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    recipe = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    (folder / "README.md").write_text(model_card.text(spec, base, report.summary()), encoding="utf-8")
    for licence in base.folder.glob("LICENSE*"):
        shutil.copyfile(licence, folder / licence.name)
