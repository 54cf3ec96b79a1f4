"""Base models in our own object storage: brought there from the hub, and from there to another machine."""

from pathlib import Path

import pytest

from jobs.errors import BaseModelNotFound, BaseModelUnavailable
from jobs.files import Files, blob_key
from jobs.held_models import HeldFile
from jobs.settings import Settings
from jobs.specs import JobSpec
from tests.app.conftest import hub  # noqa: F401  # fixture
from tests.app.hub import SHA, Hub
from worker import fetch, keep
from worker.engine import base_models
from worker.engine.base_models import Copy


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the hub's library, empty."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def request(text: Path, revision: str | None) -> JobSpec:
    return JobSpec.model_validate(
        {
            "base_model": {"source": "hub", "id": "acme/small", "revision": revision},
            "dataset": {"source": "local", "path": str(text)},
            "method": {"type": "lora_prune", "ratio": 0.3},
        }
    )


@pytest.mark.usefixtures("cache")
def test_the_first_job_asks_the_hub_and_the_second_needs_none(
    hub: Hub,  # noqa: F811
    settings: Settings,
    small_model: Path,
    small_text: Path,
    tmp_path: Path,
) -> None:
    hub.files["acme/small"] = {path.name: path.read_bytes() for path in small_model.iterdir()}
    told: list[tuple[str, list[HeldFile]]] = []
    first = fetch.fetch(request(small_text, None), tmp_path / "first", tell=lambda *each: told.append(each)).model
    assert isinstance(first, Copy)
    ((commit, held),) = told
    assert (commit, first.revision) == (SHA, SHA)
    hub.failing = True
    second = fetch.fetch(request(small_text, SHA), tmp_path / "second", held).model
    assert isinstance(second, Copy)
    assert second.folder != first.folder
    base = base_models.prepare(second, tmp_path)
    assert (base.name, base.revision) == ("acme/small", SHA)
    assert {path.name: path.read_bytes() for path in base.folder.iterdir()} == {
        path.name: path.read_bytes() for path in first.folder.iterdir()
    }
    files = Files(settings)
    files.delete(blob_key(held[0].sha256))
    hub.failing = False
    third = fetch.fetch(request(small_text, SHA), tmp_path / "third", held, lambda *each: told.append(each)).model
    assert isinstance(third, Copy)
    assert told[1] == told[0]
    assert files.size(blob_key(held[0].sha256)) == held[0].bytes


def test_a_model_comes_as_it_was_stored_or_not_at_all(settings: Settings, tmp_path: Path) -> None:
    files, folder = Files(settings), tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "deep" / "weights").write_bytes(b"weights" * 99)
    held = keep.keep(files, folder)
    assert [file.path for file in held] == ["config.json", "deep/weights"]
    there = keep.bring(files, held, tmp_path / "there", "acme/small")
    assert (there / "deep" / "weights").read_bytes() == b"weights" * 99
    files.put_bytes(blob_key(held[0].sha256), b"[]")
    with pytest.raises(BaseModelUnavailable, match=r"config\.json"):
        keep.bring(files, held, tmp_path / "again", "acme/small")
    files.delete(blob_key(held[0].sha256))
    with pytest.raises(BaseModelNotFound, match=r"config\.json"):
        keep.bring(files, held, tmp_path / "again", "acme/small")
    outside = HeldFile("../outside", held[1].bytes, held[1].sha256)
    with pytest.raises(BaseModelNotFound, match="outside"):
        keep.bring(files, [outside], tmp_path / "again", "acme/small")
