"""`prunery models` against the real API."""

import json

from click.testing import CliRunner, Result

from cli.main import main
from tests.cli.conftest import Service

NAME = "something-pruned"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ("models", *arguments), env={"COLUMNS": "200"})


def said(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_model_is_described_named_deprecated_deleted_and_brought_back(service: Service) -> None:
    assert "There are no models" in said("list")
    first = service.published({"config.json": b"{}"})
    second = service.published({"config.json": b"{}", "model.safetensors": b"weights"})
    assert f"default/{NAME}" in said("list")
    assert "no such models" in said("list", "--search", "nothing")

    newest, oldest = json.loads(said("versions", NAME, "--json"))
    assert (newest["refs"], oldest["lineage"]["job"]) == ([second, "main"], first)
    table = said("versions", f"default/{NAME}", "--limit", "1")
    assert newest["commit"][:12] in table
    assert oldest["commit"][:12] not in table

    assert oldest["commit"] in said("alias", NAME, "champion", "--to", first)
    shown = said("show", NAME, "--revision", "champion")
    assert "someone/something" in shown
    assert "champion" in shown
    assert "config.json" in shown
    assert "model.safetensors" not in shown
    assert json.loads(said("show", NAME, "--json"))["version"]["commit"] == newest["commit"]
    assert "forgotten" in said("alias", NAME, "champion", "--remove")

    assert "is deprecated" in said("deprecate", NAME, "Use another.")
    assert "Use another." in said("list")
    assert "not deprecated" in said("deprecate", NAME, "--undo")

    assert "version_in_use" in run("delete", NAME, "--revision", "main").output
    assert "no version" in said("delete", NAME, "--revision", first)
    assert len(json.loads(said("versions", NAME, "--json"))) == 1
    assert f"prunery models restore default/{NAME}" in said("delete", NAME)
    assert "There are no models" in said("list")
    assert NAME in said("list", "--deleted")
    assert "is back" in said("restore", NAME)
    assert NAME in said("list")


def test_what_is_not_there_or_wrong_is_said(service: Service) -> None:
    for arguments in (("show", "nothing"), ("delete", "others/nothing"), ("restore", "nothing")):
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        assert "not_found" in result.output
    service.published({"config.json": b"{}"})
    for arguments in (("alias", NAME, "a"), ("alias", NAME, "a", "--to", "main", "--remove"), ("deprecate", NAME)):
        assert run(*arguments).exit_code == 2, arguments
    assert "main" in run("alias", NAME, "main", "--to", "main").output
