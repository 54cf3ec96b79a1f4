"""A small model as a job would publish it, and a way to start the clients that read it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models import byte_tokenizer, random_model

HERE = Path(__file__).parent
REPORT = {
    "dense": {"perplexity": 25.6, "parameters": 290_000},
    "pruned": {"perplexity": 28.8, "parameters": 200_000},
    "achieved_ratio": 0.5,
}
QUALITY = "perplexity 25.6 -> 28.8, 50 % of the block parameters removed"


def folder(at: Path, *, note: str = "") -> Path:
    """What an engine leaves: a loadable model, its card and report, a file in a folder, a large file."""
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(at)
    model, _ = random_model(vocab_size=len(tokenizer))
    model.save_pretrained(at)
    (at / "README.md").write_text(f"---\nlicense: mit\n---\n# A small model\n\n{note}\n")
    (at / "compression_report.json").write_text(json.dumps(REPORT))
    (at / "pictures").mkdir()
    (at / "pictures" / "widths.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (at / "weights.gguf").write_bytes(b"GGUF" + os.urandom(12 * 2**20))
    return at


def packages(version: str) -> Path:
    """A folder with this version of huggingface_hub and what it needs, kept from one run to the next."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    ready = cache / "prunery" / "clients" / f"huggingface_hub-{version}"
    if ready.is_dir():
        return ready
    making = ready.with_name(f"{ready.name}.{os.getpid()}")
    wanted = f"huggingface_hub=={version}"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", making, wanted]
    done = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=240)
    if done.returncode:
        shutil.rmtree(making, ignore_errors=True)
        pytest.skip(f"{wanted} cannot be installed, perhaps as no package index can be reached: {done.stderr[-300:]}")
    making.rename(ready)
    return ready


def environment(url: str, token: str, home: Path) -> dict[str, str]:
    """What a user exports, and nothing of theirs that would get in between."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    return kept | {
        "HF_ENDPOINT": f"{url}/hf",
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "NO_COLOR": "1",
    }
