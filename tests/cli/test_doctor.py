"""`prunery doctor` finds its settings in the environment or in a data folder."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import prunery


def test_the_settings_of_a_data_folder_are_those_that_it_was_started_with(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in environment:
        monkeypatch.delenv(name, raising=False)
    data = tmp_path / "prunery-data"
    data.mkdir()
    (data / "environment.json").write_text(json.dumps(environment))
    done = prunery("doctor", "--json", "--data", str(data))
    found = {finding["part"]: finding["state"] for finding in json.loads(done.stdout)}
    assert (found["database"], found["schema"], found["object storage"]) == ("ok", "ok", "ok")
    assert found["workers"] == "failed"  # nobody works here
    assert done.returncode == 1
    assert prunery("doctor", **environment).stdout.startswith("ok       settings")


def test_without_a_service_it_says_how_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRUNERY_DATABASE_URL", raising=False)
    done = prunery("doctor", cwd=tmp_path, PYTHONPATH=str(Path(__file__).parents[2]))
    assert done.returncode == 2
    assert "no service was started there" in done.stderr
