"""The clients of the Hugging Face Hub against a running service: three generations of huggingface_hub, transformers."""

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench import published
from tests.app.hub_material import HERE, QUALITY, environment, folder, packages
from tests.cli.conftest import Service

GENERATIONS = ("0.36.2", "1.28.0", "ours")
PRIVATE, PUBLIC = "default/small", "default/open"

LOAD = """
import sys
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
name, revision = sys.argv[1:]
config = AutoConfig.from_pretrained(name, revision=revision)
tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
model = AutoModelForCausalLM.from_pretrained(name, revision=revision)
ids = tokenizer("Once upon a time", return_tensors="pt").input_ids
print(config.model_type, model.generate(ids, max_new_tokens=3, do_sample=False).shape[1] - ids.shape[1])
"""


@dataclass(frozen=True)
class Published:
    """What is there to be had."""

    job_id: str
    files: dict[str, bytes]
    variant: dict[str, bytes]


@pytest.fixture
def models(service: Service, tmp_path: Path) -> Published:
    first, variant, public = (folder(tmp_path / name, note=name) for name in ("first", "w8a8", "open"))
    job_id = published.job(service.settings, first, {"w8a8": variant}, output={"repository": "small"})
    published.job(service.settings, public, output={"repository": "open", "visibility": "public"})
    return Published(job_id, contents(first), contents(variant))


def contents(of: Path) -> dict[str, bytes]:
    return {path.relative_to(of).as_posix(): path.read_bytes() for path in of.rglob("*") if path.is_file()}


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}


def start(service: Service, generation: str, folder: Path) -> "subprocess.Popen[str]":
    home = folder / generation
    home.mkdir()
    # Without site, so that only this generation and what it needs are there.
    alone, path = ([], {}) if generation == "ours" else (["-S"], {"PYTHONPATH": str(packages(generation))})
    return subprocess.Popen(
        [sys.executable, *alone, str(HERE / "hub_client.py"), PRIVATE, PUBLIC, str(home)],
        env=environment(service.url, service.api_key, home / "home") | path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def load(service: Service, revision: str, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, PRIVATE, revision],
        env=environment(service.url, service.api_key, folder / "transformers"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_every_generation_of_the_hubs_clients_reads_what_a_job_has_published(
    service: Service, models: Published, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    running = {}
    for generation in GENERATIONS:
        with subtests.test(f"{generation} is there"):
            running[generation] = start(service, generation, tmp_path)
    loading = load(service, models.job_id, tmp_path)
    for generation, process in running.items():
        out, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
        results = json.loads(out)
        if generation != "ours":
            assert results["version"] == generation
        for check in (knows, downloads, reads_parts, is_refused):
            with subtests.test(f"{generation} {check.__name__}"):
                check(results, models)
    out, said = loading.communicate(timeout=240)
    with subtests.test("transformers"):
        assert (loading.returncode, out.split()) == (0, ["llama", "3"]), said


def knows(results: dict[str, Any], models: Published) -> None:
    info, refs = results["info"], results["refs"]
    assert results["whoami"] == "default"
    assert results["auth_check"] is None
    assert {path: size for path, (size, _) in info["files"].items()} == {
        path: len(content) for path, content in models.files.items()
    }
    large = {path: sha256 for path, (_, sha256) in info["files"].items() if sha256}
    expected = hashes(models.files)
    assert large == {path: expected[path] for path in ("model.safetensors", "weights.gguf")}
    assert (info["private"], info["sha"]) == (True, refs["main"])
    assert refs == {
        "main": info["sha"],
        models.job_id: info["sha"],
        "w8a8": results["info_of_variant"],
        f"{models.job_id}-w8a8": results["info_of_variant"],
    }
    assert info["sha"] != results["info_of_variant"]
    assert info["sha"] in results["commits"]
    assert results["files"] == sorted(models.files)
    top = {path.partition("/")[0] for path in models.files}
    assert results["tree"] == sorted(top)
    assert results["subtree"] == ["pictures/widths.svg"]
    assert sorted(results["paths"]) == ["config.json", "pictures"]
    assert results["ls"] == sorted(f"{PRIVATE}/{path}" for path in top)
    assert results["models"] == [PUBLIC, PRIVATE]
    assert results["exists"] == [True, False, False]


def downloads(results: dict[str, Any], models: Published) -> None:
    expected = hashes(models.files)
    assert results["snapshot"] == expected
    assert results["one_file"] == hashes(models.variant)["config.json"]
    assert results["command"]["code"] == 0, results["command"]
    assert results["local"] == expected
    if not results["version"].startswith("0."):  # which has no eyes for it
        assert f"{PRIVATE}: {QUALITY}" in results["command"]["said"]
    assert results["command_without_key"]["code"] == 0, results["command_without_key"]
    assert results["public"].keys() == expected.keys()
    assert results["public_without_key"] == PUBLIC


def reads_parts(results: dict[str, Any], models: Published) -> None:
    weights = models.files["weights.gguf"]
    assert results["read"] == weights[1_000_000:1_000_020].hex()
    assert results["metadata"]["files"] == ["model.safetensors"]
    assert sum(results["metadata"]["parameters"].values()) == results["info"]["total"] > 0
    assert results["cut"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert results["cut"]["cuts_left"] == 0


def is_refused(results: dict[str, Any], models: Published) -> None:
    for case, kind, status, says in (
        ("wrong_key", "HfHubHTTPError", 401, "Invalid credentials in Authorization header"),
        ("private_without_key", "RepositoryNotFoundError", 404, "There is no model"),
        ("missing_repository", "RepositoryNotFoundError", 404, "There is no model nobody/nothing"),
        ("missing_revision", "RevisionNotFoundError", 404, "no revision 'no'"),
        ("missing_file", "EntryNotFoundError", 404, "There is no 'no.txt'"),
        ("missing_folder", "EntryNotFoundError", 404, "There is no folder 'no'"),
        ("upload", "HfHubHTTPError", 403, "read-only endpoint"),
    ):
        result = results[case]
        assert kind in result["error"], (case, result)
        assert (result["status"], says in result["says"]) == (status, True), (case, result)
    assert "RepositoryNotFoundError" not in results["wrong_key"]["error"]
    # It is remembered that the file is not there, by the commit.
    assert "EntryNotFoundError" in results["missing_file_again"]["error"]
