"""The rules of the house that no linter knows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("jobs", "app", "worker", "cli", "migrations", "bench")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "shared"}
MAX_FILE, MAX_FUNCTION = 300, 60


def modules_of_jobs(package: str) -> set[str]:
    """The modules of `jobs` that a package reaches, also through `jobs` itself."""
    reached: set[str] = set()
    waiting = [path for path in SOURCES if path.is_relative_to(ROOT / package)]
    while waiting:
        for name in _imports_of_jobs(waiting.pop()) - reached:
            reached.add(name)
            waiting.append(ROOT / "jobs" / f"{name}.py")
    return reached


def _imports_of_jobs(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "jobs":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jobs."):
            found.add(str(node.module).removeprefix("jobs."))
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("jobs.") for alias in node.names if alias.name.startswith("jobs.")}
    return found


def test_a_module_of_jobs_is_reached_from_both_sides() -> None:
    modules = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"__init__"}
    assert modules - modules_of_jobs("app") == set(), "only the worker uses these: they belong there"
    assert modules - modules_of_jobs("worker") == set(), "only the app uses these: they belong there"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short_and_named_for_what_they_hold(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    assert path.stem not in DRAWERS
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION, f"{node.name} is too long"
