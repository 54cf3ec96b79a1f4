"""The demo from end to end, with a model that is small enough to wait for."""

import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import prunery

LOAD = """
import sys
from transformers import AutoModelForCausalLM
print(AutoModelForCausalLM.from_pretrained(sys.argv[1]).num_parameters())
"""


def processes(folder: Path) -> list[str]:
    """The command lines that name a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def test_a_model_goes_all_the_way(small_model: Path, tmp_path: Path) -> None:
    changes = [
        f"base_model={small_model}",
        "method.train.steps=4",
        "method.round_ffn_to=4",
        "method.train.sequence_length=128",
    ]
    done = prunery(
        "demo", "--folder", "demo", *(part for change in changes for part in ("--set", change)), cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    folder = tmp_path / "demo" / "model"
    assert lines[-1] == f"model: {folder}"
    assert f"  model = AutoModelForCausalLM.from_pretrained('{folder}')" in lines
    for words in ("dense after the", "parameters", "on disk", "perplexity", "prefill, tokens/s", "decode, tokens/s"):
        assert words in done.stdout
    loaded = subprocess.run([sys.executable, "-I", "-c", LOAD, str(folder)], capture_output=True, text=True, check=True)
    assert f"{int(loaded.stdout):,}" in next(line for line in lines if line.startswith(" parameters"))
    assert "succeeded" in (tmp_path / "demo/service/logs/job.log").read_text().splitlines()[-1]
    assert processes(tmp_path) == []


def test_a_demo_that_fails_says_why_and_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = prunery("demo", "--folder", "demo", "--set", "base_model=empty", cwd=tmp_path)
    assert done.returncode == 1
    assert "(base_model_incomplete)" in done.stderr
    assert f"Logs: {tmp_path}/demo/service/logs" in done.stderr
    assert "model:" not in done.stdout
    assert processes(tmp_path) == []
