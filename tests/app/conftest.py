"""The real application over real servers, a stand-in for the model hub, and a count of what was stored."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from app.main import create_app
from jobs.files import Files
from jobs.settings import Settings
from jobs.tables import EventRow, FileRow, JobRow, OutboxRow
from tests.app.hub import Hub
from tests.cli.conftest import service  # noqa: F401  # fixture

MAX_BODY = 64 * 1024
MAX_UPLOAD = 20 * 2**20

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "intermediate_size": 256,
    "vocab_size": 512,
    "max_position_embeddings": 1024,
}
WHOLE = ("config.json", "model.safetensors", "tokenizer.json")


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """The one folder of this machine that jobs may name."""
    folder = tmp_path / "roots"
    folder.mkdir()
    return folder


@pytest.fixture
def door_settings(settings: Settings, roots: Path) -> Settings:
    limits = {"local_roots": (roots,), "max_body_bytes": MAX_BODY, "max_upload_bytes": MAX_UPLOAD}
    return settings.model_copy(update=limits)


@pytest.fixture
def client(door_settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(door_settings)) as client:
        client.headers["Authorization"] = f"Bearer {door_settings.api_key.get_secret_value()}"
        yield client


@pytest.fixture
def files(settings: Settings) -> Files:
    return Files(settings)


@pytest.fixture
def stored(sessions: sessionmaker[Session], files: Files) -> Callable[[], tuple[int, ...]]:
    """Counts jobs, events, outbox messages, uploaded files, objects and unfinished uploads."""

    def count() -> tuple[int, ...]:
        with sessions() as session:
            tables = (JobRow, EventRow, OutboxRow, FileRow)
            rows = [session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]
        objects = files._s3.list_objects_v2(Bucket=files.bucket).get("Contents", [])
        uploads = files._s3.list_multipart_uploads(Bucket=files.bucket).get("Uploads", [])
        return (*rows, len(objects), len(uploads))

    return count


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as running:
        # What HF_ENDPOINT would do, had it been set before the library was imported.
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield running


def write_model(folder: Path, config: Any = LLAMA, names: tuple[str, ...] = WHOLE) -> Path:
    """A model folder as far as it can be seen from its small files: the weights are empty."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(json.dumps(config) if name == "config.json" else "{}")
    return folder


def job(base_model: dict[str, Any], dataset: dict[str, Any], /, **changes: Any) -> dict[str, Any]:
    """A sound request; `changes` takes `method__ratio=…` for what lies deeper."""
    request: dict[str, Any] = {
        "base_model": base_model,
        "dataset": dataset,
        "method": {"type": "lora_prune", "ratio": 0.25, "round_ffn_to": 8, "train": {"sequence_length": 64}},
    }
    for place, value in changes.items():
        *path, last = place.split("__")
        node = request
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return request


@pytest.fixture
def sound(client: TestClient, roots: Path) -> dict[str, Any]:
    """A request for a job on a model and a text that are there."""
    write_model(roots / "llama")
    uploaded = client.post("/v1/files", params={"name": "train.txt"}, content=b"some text " * 100)
    return job({"source": "local", "path": str(roots / "llama")}, {"source": "file", "id": uploaded.json()["id"]})
