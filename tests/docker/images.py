"""What an image would hold, put together outside a container: the code that its build sees, and its libraries alone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.docker import compose
from tests.docker.compose import Dockerfile

SCRIPT = "#!{python}\nimport sys\nfrom {module} import {object}\nsys.exit({object}())\n"


class Image:
    """A virtual environment with the wheel and what it needs with one extra; anything else cannot be imported."""

    def __init__(self, file: Dockerfile, wheel: Path, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.programs = folder / "bin"
        (self._libraries,) = folder.glob("lib/python*/site-packages")
        for needed in closure("prunery", file.extra):
            self._link(needed)
        install = [sys.executable, "-m", "pip", "--python", str(self.programs / "python"), "install", "--quiet"]
        subprocess.run([*install, "--no-deps", "--no-index", wheel], check=True)

    def __call__(self, words: list[str]) -> list[str]:
        """A command as the container's shell would find it."""
        program = self.programs / words[0]
        assert program.exists(), f"{words[0]} is not in the image"
        return [str(program), *words[1:]]

    def _link(self, needed: Distribution) -> None:
        for name in {file.parts[0] for file in needed.files or () if file.parts[0] not in ("..", "__pycache__")}:
            place = self._libraries / name
            if not place.exists():
                place.symlink_to(Path(str(needed.locate_file(name))))
        for entry in needed.entry_points.select(group="console_scripts"):
            module, _, attribute = entry.value.partition(":")
            script = self.programs / entry.name
            script.write_text(
                SCRIPT.format(python=self.programs / "python", module=module, object=attribute.split()[0])
            )
            script.chmod(0o755)


def closure(name: str, extra: str) -> list[Distribution]:
    """Everything that the distribution needs with its extra, itself left out; as installed here."""
    found: dict[tuple[str, str], Distribution] = {}
    pending = [(name, ""), (name, extra)]
    while pending:
        wanted = pending.pop()
        if wanted in found:
            continue
        found[wanted] = distribution(wanted[0])
        pending += _needs(found[wanted], wanted[1])
    return [each for (owner, _), each in found.items() if owner != name]


def build_wheel(folder: Path) -> Path:
    """The wheel, built from what .dockerignore lets through."""
    context = folder / "context"
    for line in (compose.ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            _copy(compose.ROOT / line[1:], context / line[1:])
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, context], check=True, env=os.environ | {"PIP_NO_INPUT": "1"})
    (wheel,) = folder.glob("*.whl")
    return wheel


def _needs(installed: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    for line in installed.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement.name, ""
            yield from ((requirement.name, wanted) for wanted in requirement.extras)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
