"""What the images are built from, and as whom they run."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docker import compose
from tests.docker.compose import Dockerfile

FILES = sorted((compose.ROOT / "docker").glob("*.Dockerfile"))
BUILD_TOOLS = ("pip", "setuptools", "wheel")


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_image_is_described_once_and_used() -> None:
    assert {service["build"]["dockerfile"] for service in compose.ours().values()} == {
        f"docker/{path.name}" for path in FILES
    }


def test_it_runs_as_nobody_in_particular(path: Path) -> None:
    user, _, group = Dockerfile(path).user.partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_dependencies_come_before_the_code(path: Path) -> None:
    steps = [f"{word} {rest}" for word, rest in Dockerfile(path).build]
    code = steps.index("COPY . .")
    installs = [place for place, step in enumerate(steps) if " install " in step]
    assert min(installs) < code < max(installs)
    (own,) = [steps[place] for place in installs if place > code]
    assert own.endswith("install --no-deps .")
    pinned = [steps[place] for place in installs if place < code and "$TORCH" not in steps[place]]
    assert pinned
    assert all("--constraint constraints.txt" in step for step in pinned)


def test_the_last_stage_takes_only_the_environment_and_no_build_tool(path: Path) -> None:
    file = Dockerfile(path)
    assert [rest for word, rest in file.final if word in ("COPY", "ADD")] == ["--from=build /opt/prunery /opt/prunery"]
    assert any(word == "RUN" and "venv --without-pip /opt/prunery" in rest for word, rest in file.build)
    (removal,) = [rest for word, rest in file.final if word == "RUN" and "pip uninstall" in rest]
    assert all(tool in removal.split() for tool in BUILD_TOOLS)


def test_both_stages_have_the_same_pinned_python(path: Path) -> None:
    bases = [rest.split()[0] for word, rest in Dockerfile(path).instructions if word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0])


def test_torch_has_one_version_wherever_it_is_named() -> None:
    pyproject = tomllib.loads((compose.ROOT / "pyproject.toml").read_text())
    (wanted,) = [line for line in pyproject["project"]["optional-dependencies"]["worker"] if line.startswith("torch")]
    places = ("Makefile", "docker/worker.Dockerfile", "docker-compose.yml", ".env.example", "constraints.txt")
    for place in places:
        named = re.findall(r"torch==[\d.]+", (compose.ROOT / place).read_text())
        assert set(named) == {wanted}, place


def test_the_build_sees_the_code_and_nothing_that_is_not_in_it() -> None:
    pyproject = tomllib.loads((compose.ROOT / "pyproject.toml").read_text())
    packages = {pattern.rstrip("*") for pattern in pyproject["tool"]["setuptools"]["packages"]["find"]["include"]}
    files = {pyproject["project"]["readme"], "pyproject.toml", "constraints.txt", "docker/requirements.py"}
    lines = (compose.ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in lines if line.startswith("!")} == packages | files
    assert "*" in lines
