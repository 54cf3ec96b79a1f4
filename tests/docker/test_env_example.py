"""`.env.example` names every setting with its unit and its default, and starts nothing as it is."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from jobs.settings import Settings
from tests.docker import compose

LINES = compose.EXAMPLE.read_text().splitlines()
ASSIGNMENT = re.compile(r"#?([A-Z][A-Z0-9_]*)=(.*)")
USED = {match["name"] for match in compose.VARIABLE.finditer(compose.FILE.read_text())}
# Passed through by name alone.
USED |= {name for service in compose.ours().values() for name, value in service["environment"].items() if value is None}
USED |= {"PIP_EXTRA_INDEX_URL"}
UNITS = {"seconds", "bytes", "times", "number", "path", "paths", "URL"}


def entries() -> dict[str, tuple[str, str]]:
    """Each variable with its value, commented out or not, and the comment above it."""
    found: dict[str, tuple[str, str]] = {}
    comment: list[str] = []
    for before, line in zip(["", *LINES], LINES, strict=False):
        if match := ASSIGNMENT.fullmatch(line):
            assert match[1] not in found, f"{match[1]} is there twice"
            found[match[1]] = (match[2], " ".join(comment))
        elif line.startswith("# "):
            comment = [*comment, line[2:]] if before.startswith("# ") else [line[2:]]
    return found


def default_of(setting: str) -> Any:
    return Settings.model_fields[setting.removeprefix("PRUNERY_").lower()].default


SETTINGS = sorted(f"PRUNERY_{name}".upper() for name in Settings.model_fields)


def test_it_names_every_setting_and_all_that_compose_reads_and_nothing_else() -> None:
    assert set(entries()) == set(SETTINGS) | USED


@pytest.mark.parametrize("name", SETTINGS)
def test_the_comment_of_a_setting_says_its_default(name: str) -> None:
    value, comment = entries()[name]
    default = default_of(name)
    if default is PydanticUndefined:
        assert "No default." in comment
        assert f"#{name}=" not in LINES
        return
    shown = json.dumps(default) if isinstance(default, bool | tuple) else {None: "none"}.get(default, str(default))
    assert re.search(rf"Default: {re.escape(shown)}($|[ ;,])", comment), comment
    # Taking the comment sign away must change nothing.
    assert value == ("" if default is None else shown)
    assert f"#{name}={value}" in LINES


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in SETTINGS
        if (isinstance(default_of(name), int | float) and not isinstance(default_of(name), bool))
        or name.endswith(("_DIR", "_FILE"))
    ],
)
def test_the_comment_of_a_quantity_says_its_unit(name: str) -> None:
    expected = {"SECONDS": "seconds", "BYTES": "bytes", "DIR": "path", "FILE": "path"}.get(name.rpartition("_")[2])
    assert set(re.findall(r"\w+", entries()[name][1])) & ({expected} if expected else UNITS)


def test_untouched_it_lacks_every_secret_that_compose_asks_for() -> None:
    empty = {name for name, value in compose.example().items() if not value}
    assert empty == {
        "PRUNERY_API_KEY",
        "POSTGRES_PASSWORD",
        "BROKER_PASSWORD",
        "PRUNERY_S3_ACCESS_KEY",
        "PRUNERY_S3_SECRET_KEY",
        "SEAWEEDFS_SIGNING_KEY",
    }
    uses = {
        name: [use for use in compose.VARIABLE.finditer(compose.FILE.read_text()) if use["name"] == name]
        for name in empty
    }
    for name, found in uses.items():
        assert found, name
        assert all(use["operator"] == ":?" for use in found), name


@pytest.mark.parametrize("service", sorted(set(compose.services())))
def test_untouched_it_starts_no_service(service: str) -> None:
    with pytest.raises(compose.Required):
        compose.environment(service, compose.example())


def test_untouched_it_is_refused_by_our_own_processes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in compose.example().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match="still holds a placeholder"):
        Settings()


@pytest.mark.parametrize("name", ["PRUNERY_API_KEY", "PRUNERY_S3_SECRET_KEY", "POSTGRES_PASSWORD", "BROKER_PASSWORD"])
def test_a_placeholder_is_refused_wherever_it_stands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    chosen = re.sub(r"(?m)^([A-Z0-9_]+=)$", r"\1s3cret", compose.EXAMPLE.read_text())
    file.write_text(chosen.replace(f"{name}=s3cret", f"{name}=changeme"))
    for variable, value in dotenv_values(file).items():
        monkeypatch.setenv(variable, value or "")
    with pytest.raises(ValidationError, match="still holds a placeholder"):
        Settings()


def test_the_line_it_gives_makes_a_file_with_which_all_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = [line[1:].strip() for line in LINES if "python3 -c" in line]
    (tmp_path / ".env.example").write_text(compose.EXAMPLE.read_text())
    subprocess.run(["bash", "-euc", line], cwd=tmp_path, check=True, env={"PATH": os.environ["PATH"]})
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    variables = {name: value or "" for name, value in dotenv_values(tmp_path / ".env").items()}
    for service in compose.services():
        compose.environment(service, variables)
    for name, value in compose.environment("api", variables).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.environment == "production"
    assert variables["POSTGRES_PASSWORD"] in settings.database_url.get_secret_value()
    assert len({variables[name] for name, value in compose.example().items() if not value}) == 6
