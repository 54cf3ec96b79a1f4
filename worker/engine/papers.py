"""What lies beside the weights: the report, the recipe that made them, the model card, the licence."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from jobs.specs import JobSpec
from worker.engine import model_card
from worker.engine.base_models import BaseModel
from worker.engine.plan import Plan

REPORT_VERSION = 1


def write(
    folder: Path,
    spec: JobSpec,
    base: BaseModel,
    summary: dict[str, Any],
    plan: Plan,
    history: list[dict[str, object]],
) -> None:
    """Add compression_report.json, recipe.yaml, README.md and the base model's licence files to `folder`."""
    report = {"version": REPORT_VERSION, **summary, "training": history, "kept": plan.to_json()}
    (folder / "compression_report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    recipe = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    (folder / "README.md").write_text(model_card.text(spec, base, summary), encoding="utf-8")
    for licence in base.folder.glob("LICENSE*"):
        shutil.copyfile(licence, folder / licence.name)
