"""docker-compose.yml and the Dockerfiles as they are written, read without an engine."""

import json
import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<operator>:[-?])(?P<word>[^}]*))?\}")


class Required(Exception):
    """`${NAME:?message}` of a variable that is unset or empty: Compose does not start anything then."""


class Dockerfile:
    """The instructions of the last stage, by which an image runs."""

    def __init__(self, path: Path) -> None:
        text = re.sub(r"\\\n(\s*#.*\n)*", " ", path.read_text())
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        self.instructions = [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]
        begins = [place for place, (word, _) in enumerate(self.instructions) if word == "FROM"]
        self.build = self.instructions[begins[-2] : begins[-1]]
        self.final = self.instructions[begins[-1] :]

    @property
    def environment(self) -> dict[str, str]:
        pairs = [pair for word, rest in self.final if word == "ENV" for pair in shlex.split(rest)]
        return dict(pair.split("=", 1) for pair in pairs)

    @property
    def user(self) -> str:
        return self._last("USER")

    @property
    def command(self) -> list[str]:
        return _words(self._last("CMD"))

    @property
    def healthcheck(self) -> list[str]:
        return _words(self._last("HEALTHCHECK").partition("CMD ")[2])

    @property
    def extra(self) -> str:
        """Of pyproject.toml, what the image installs."""
        (extra,) = re.findall(r"requirements\.py (\w+)", " ".join(rest for _, rest in self.build))
        return str(extra)

    def _last(self, instruction: str) -> str:
        return [rest for word, rest in self.final if word == instruction][-1]


@cache
def document() -> dict[str, Any]:
    """The file, its anchors resolved and its variables not."""
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document()["services"]
    return found


def ours() -> dict[str, dict[str, Any]]:
    """The services that are built here."""
    return {name: service for name, service in services().items() if "build" in service}


def dockerfile(service: str) -> Dockerfile:
    return Dockerfile(ROOT / services()[service]["build"]["dockerfile"])


def command(service: str) -> list[str]:
    return services()[service].get("command") or dockerfile(service).command


def healthcheck(service: str) -> list[str]:
    """The command, by the service or its image."""
    check = services()[service].get("healthcheck")
    if check is None:
        return dockerfile(service).healthcheck
    assert check["test"][0] == "CMD"
    return list(check["test"][1:])


def environment(service: str, variables: Mapping[str, str]) -> dict[str, str]:
    """What the container of the service gets to see, given what .env says."""
    image = dockerfile(service).environment if service in ours() else {}
    given = services()[service]["environment"]
    passed = {
        name: variables.get(name) if value is None else interpolate(value, variables) for name, value in given.items()
    }
    merged = image | passed
    # A variable that is listed without a value, and has none, is taken away from the image's own.
    return {name: value for name, value in merged.items() if value is not None}


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """As Compose does it: the forms that our file uses."""

    def value(match: re.Match[str]) -> str:
        found = variables.get(match["name"], "")
        if not found and match["operator"] == ":?":
            raise Required(f"{match['name']}: {match['word']}")
        return found or match["word"] or ""

    return VARIABLE.sub(value, str(text))


def example() -> dict[str, str]:
    """What an untouched .env.example sets."""
    return {name: value or "" for name, value in dotenv_values(EXAMPLE, interpolate=True).items()}


def _words(text: str) -> list[str]:
    words: list[str] = json.loads(text)
    return words
