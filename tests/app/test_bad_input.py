"""Each wrong request that can be seen from outside: named, with its place, and nothing of it stored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from jobs.files import Files
from jobs.settings import Settings
from tests.app.conftest import LLAMA, WHOLE, job, write_model
from tests.app.hub import SHA, Hub

JOBS = "/v1/compression/jobs"
TEXT = {"source": "local", "path": "ROOTS/text.jsonl"}
MODEL = {"source": "local", "path": "ROOTS/llama"}
INDEX_NAME = "model.safetensors.index.json"
SHARDED = ("config.json", "tokenizer.json", "model-00001-of-00002.safetensors", INDEX_NAME)
INDEX = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}


@pytest.fixture
def world(roots: Path, hub: Hub, files: Files) -> None:
    """Sound and unsound models and texts, in a folder, on the hub and in object storage."""
    write_model(roots / "llama")
    write_model(roots / "no-config", names=("model.safetensors", "tokenizer.json"))
    write_model(roots / "no-weights", names=("config.json", "tokenizer.json"))
    write_model(roots / "no-tokenizer", names=("config.json", "model.safetensors"))
    write_model(roots / "pickled", names=("config.json", "pytorch_model.bin", "tokenizer.json"))
    write_model(roots / "bert", {**LLAMA, "architectures": ["BertForMaskedLM"], "model_type": "bert"})
    write_model(roots / "t5", {**LLAMA, "architectures": [], "model_type": "t5", "is_encoder_decoder": True})
    write_model(roots / "falcon", {**LLAMA, "architectures": ["FalconForCausalLM"], "model_type": "falcon"})
    write_model(roots / "quantised", {**LLAMA, "quantization_config": {"bits": 4}})
    write_model(roots / "headless", {**LLAMA, "num_attention_heads": 0})
    write_model(roots / "phi3", {**LLAMA, "architectures": ["Phi3ForCausalLM"], "model_type": "phi3"})
    write_model(roots / "broken")
    (roots / "broken" / "config.json").write_text("{")
    write_model(roots / "torn", names=SHARDED)
    (roots / "torn" / INDEX_NAME).write_text(json.dumps(INDEX))
    (roots / "outside").symlink_to("/etc")
    (roots / "text.jsonl").write_text(json.dumps({"text": "some text " * 100}))
    (roots / "empty.txt").write_text("")
    (roots / "short.txt").write_text("too short")
    (roots / "model.gguf").write_bytes(b"PK\x03\x04 no GGUF at all")
    (roots / "half.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")

    whole = {name: json.dumps(LLAMA).encode() for name in WHOLE}
    hub.files["acme/llama"] = whole
    hub.files["acme/gated"] = whole
    hub.files["acme/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"", "tokenizer.json": b"{}"}
    hub.files["acme/bert"] = whole | {"config.json": json.dumps({"architectures": ["BertForMaskedLM"]}).encode()}
    hub.gated.add("acme/gated")

    files.put_bytes("models/pickled/config.json", b"{}")
    files.put_bytes("models/pickled/pytorch_model.bin", b"")
    files.put_bytes("texts/empty.jsonl", b"")


def local(name: str) -> dict[str, Any]:
    return {"source": "local", "path": name}


def of_hub(id: str, **more: str) -> dict[str, Any]:
    return {"source": "hub", "id": id, **more}


def of_s3(key: str) -> dict[str, Any]:
    return {"source": "s3", "uri": f"s3://BUCKET/{key}"}


SPECS = {
    "unknown key": ({"metdata": {}}, "invalid_spec", "/metdata"),
    "unknown deep key": ({"method__lora": {"rnk": 8}}, "invalid_spec", "/method/lora/rnk"),
    "unknown key of a union's member": ({"base_model": {**MODEL, "id": "x"}}, "invalid_spec", "/base_model/id"),
    "missing key": ({"dataset": {"source": "file"}}, "invalid_spec", "/dataset/id"),
    "unknown source": ({"dataset": {"source": "ftp", "path": "x"}}, "invalid_spec", "/dataset/source"),
    "unknown method": ({"method__type": "lottery"}, "invalid_spec", "/method/type"),
    "ratio 0": ({"method__ratio": 0}, "invalid_spec", "/method/ratio"),
    "ratio below 0": ({"method__ratio": -0.1}, "invalid_spec", "/method/ratio"),
    "ratio 0.9": ({"method__ratio": 0.9}, "invalid_spec", "/method/ratio"),
    "micro batch": ({"method__train": {"batch_size": 8, "micro_batch_size": 3}}, "invalid_spec", "/method/train"),
    "scope": ({"method__scope": ["attention_heads", "layers"]}, "invalid_spec", "/method/scope/1"),
    "repository": ({"output__repository": "acme/small"}, "invalid_spec", "/output/repository"),
    "metadata key": ({"metadata": {"a/b~c": 1}}, "invalid_spec", "/metadata/a~1b~0c"),
    "NUL": ({"metadata": {"note": "a\0b"}}, "invalid_spec", "/metadata/note"),
    "half a surrogate pair": ({"name": "\ud800"}, "invalid_spec", "/name"),
}

MODELS = {
    "no folder": (local("ROOTS/nowhere"), "base_model_not_found", "/path"),
    "a file": (local("ROOTS/text.jsonl"), "base_model_not_found", "/path"),
    "outside": (local("/etc"), "base_model_not_found", "/path"),
    "outside by dots": (local("ROOTS/llama/../.."), "base_model_not_found", "/path"),
    "outside by a link": (local("ROOTS/outside"), "base_model_not_found", "/path"),
    "a name too long": (local("ROOTS/" + "x" * 900), "base_model_not_found", "/path"),
    "relative": (local("llama"), "base_model_not_found", "/path"),
    "no config": (local("ROOTS/no-config"), "base_model_incomplete", ""),
    "no weights": (local("ROOTS/no-weights"), "base_model_incomplete", ""),
    "no tokenizer": (local("ROOTS/no-tokenizer"), "base_model_incomplete", ""),
    "a shard missing": (local("ROOTS/torn"), "base_model_incomplete", ""),
    "broken config": (local("ROOTS/broken"), "base_model_incomplete", ""),
    "pickle only": (local("ROOTS/pickled"), "pickle_weights", ""),
    "not a causal LM": (local("ROOTS/bert"), "not_a_causal_lm", ""),
    "encoder-decoder": (local("ROOTS/t5"), "not_a_causal_lm", ""),
    "unsupported family": (local("ROOTS/falcon"), "unsupported_architecture", ""),
    "quantised": (local("ROOTS/quantised"), "unsupported_architecture", ""),
    "no heads": (local("ROOTS/headless"), "unsupported_architecture", ""),
    "no repository": (of_hub("acme/nothing"), "base_model_not_found", "/id"),
    "no revision": (of_hub("acme/llama", revision="v9"), "base_model_not_found", "/revision"),
    "gated": (of_hub("acme/gated"), "base_model_gated", "/id"),
    "pickle on the hub": (of_hub("acme/pickled"), "pickle_weights", ""),
    "not a causal LM on the hub": (of_hub("acme/bert"), "not_a_causal_lm", ""),
    "nothing under the prefix": (of_s3("models/nowhere"), "base_model_not_found", "/uri"),
    "no bucket": ({"source": "s3", "uri": "s3://no-such-bucket/m"}, "base_model_not_found", "/uri"),
    "pickle in object storage": (of_s3("models/pickled"), "pickle_weights", ""),
    "no GGUF file": ({"source": "gguf", "path": "ROOTS/nowhere.gguf"}, "base_model_not_found", "/path"),
    "no GGUF object": ({"source": "gguf", "path": "s3://BUCKET/nowhere.gguf"}, "base_model_not_found", "/path"),
    "not a GGUF": ({"source": "gguf", "path": "ROOTS/model.gguf"}, "base_model_incomplete", ""),
    "half a GGUF": ({"source": "gguf", "path": "ROOTS/half.gguf"}, "base_model_incomplete", ""),
}

DATASETS = {
    "no upload": ({"source": "file", "id": "file_0"}, "dataset_not_found", "/id"),
    "no file": (local("ROOTS/nowhere.txt"), "dataset_not_found", "/path"),
    "a folder": (local("ROOTS/llama"), "dataset_not_found", "/path"),
    "outside": (local("/etc/passwd"), "dataset_not_found", "/path"),
    "empty": (local("ROOTS/empty.txt"), "dataset_empty", ""),
    "too short": (local("ROOTS/short.txt"), "dataset_too_short", ""),
    "no object": (of_s3("texts/nowhere.txt"), "dataset_not_found", "/uri"),
    "empty object": (of_s3("texts/empty.jsonl"), "dataset_empty", ""),
    "no data set on the hub": (of_hub("acme/nothing"), "dataset_not_found", "/id"),
}

PLANS = {
    "no GGUF file of it": (
        {"base_model": local("ROOTS/phi3"), "output": {"formats": ["safetensors", "gguf_q8_0"]}},
        "format_impossible",
        "/output/formats/1",
    ),
    "sequence too long": (
        {"method__train__sequence_length": 1025},
        "sequence_too_long",
        "/method/train/sequence_length",
    ),
    "window too long": ({"evaluation": {"window": 1025}}, "sequence_too_long", "/evaluation/window"),
    "window of a protocol too long": (
        {"evaluation": {"perplexities": [{"name": "a", "dataset": TEXT, "window": 1025}]}},
        "sequence_too_long",
        "/evaluation/perplexities/0/window",
    ),
    "questions that are not there": (
        {"evaluation": {"multiple_choice": [{"name": "a", "dataset": of_hub("acme/nothing")}]}},
        "dataset_not_found",
        "/evaluation/multiple_choice/0/dataset/id",
    ),
    "a layer without units": (
        {"method__scope": ["mlp_channels"], "method__ratio": 0.8},
        "layer_without_units",
        "/method/ratio",
    ),
    "unreachable with the rounding": (
        {"method__round_ffn_to": 200, "method__ratio": 0.01},
        "target_unreachable",
        "/method/ratio",
    ),
}

GROUPS = {
    "spec": [(name, job(MODEL, TEXT, **changes), code, place) for name, (changes, code, place) in SPECS.items()],
    "model": [(name, job(source, TEXT), code, f"/base_model{place}") for name, (source, code, place) in MODELS.items()],
    "dataset": [
        (name, job(MODEL, source), code, f"/dataset{place}") for name, (source, code, place) in DATASETS.items()
    ],
    "held-out": [
        (name, job(MODEL, TEXT, evaluation={"dataset": source}), code, f"/evaluation/dataset{place}")
        for name, (source, code, place) in DATASETS.items()
    ],
    "plan": [(name, job(MODEL, TEXT, **changes), code, place) for name, (changes, code, place) in PLANS.items()],
}


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("group", GROUPS)
def test_bad_input_is_named_with_its_place_and_nothing_is_stored(
    group: str,
    client: TestClient,
    roots: Path,
    files: Files,
    stored: Callable[[], tuple[int, ...]],
    subtests: pytest.Subtests,
) -> None:
    for name, request, code, place in GROUPS[group]:
        before = stored()
        with subtests.test(name):
            sent = json.dumps(request).replace("ROOTS", str(roots)).replace("BUCKET", files.bucket)
            answer = client.post(JOBS, content=sent, headers={"Content-Type": "application/json"})
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (422, code), problem
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert [field["pointer"] for field in problem["errors"]] == [place], problem
            assert problem["detail"]
            assert problem["retryable"] is False
            assert stored() == before


def test_every_wrong_field_is_named_at_once_with_the_key_that_was_meant(client: TestClient) -> None:
    request = job(MODEL, TEXT, method__ratio=0.95, method__train={"sequence_lenght": 64}, seeed=1)
    fields = {field["pointer"]: field for field in client.post(JOBS, json=request).json()["errors"]}
    assert set(fields) == {"/method/ratio", "/method/train/sequence_lenght", "/seeed"}
    assert fields["/method/train/sequence_lenght"]["suggestion"] == "sequence_length"
    assert fields["/seeed"]["suggestion"] == "seed"


@pytest.mark.usefixtures("world")
def test_a_sound_model_of_each_source_gets_the_same_plan(
    client: TestClient, roots: Path, files: Files, subtests: pytest.Subtests
) -> None:
    write_model(roots / "whole", names=(*SHARDED, "model-00002-of-00002.safetensors"))
    (roots / "whole" / INDEX_NAME).write_text(json.dumps(INDEX))
    for name in WHOLE:
        files.put_bytes(f"models/llama/{name}", json.dumps(LLAMA).encode())
    for source in (
        local("ROOTS/llama"),
        local("ROOTS/whole"),
        of_hub("acme/llama"),
        of_hub("acme/llama", revision=SHA),
        of_s3("models/llama"),
    ):
        with subtests.test(str(source)):
            sent = json.dumps(job(source, TEXT)).replace("ROOTS", str(roots)).replace("BUCKET", files.bucket)
            answer = client.post(JOBS, content=sent, headers={"Content-Type": "application/json"})
            assert answer.status_code == 202, answer.text
            assert answer.json()["plan"]["ffn"] == {"before": 256, "after": 192}


def test_a_job_is_accepted_while_the_hub_is_silent(client: TestClient, hub: Hub) -> None:
    request = job(of_hub("acme/nothing"), of_hub("acme/nothing"))
    assert client.post(JOBS, json=request).json()["code"] == "dataset_not_found"
    hub.failing = True
    failing = client.post(JOBS, json=request)
    hub.close()
    gone = client.post(JOBS, json=request)
    assert (failing.status_code, gone.status_code) == (202, 202)
    assert failing.json()["plan"] is gone.json()["plan"] is None


def test_no_folder_of_the_machine_can_be_named_by_default(
    door_settings: Settings, roots: Path, client: TestClient
) -> None:
    write_model(roots / "llama")
    closed = door_settings.model_copy(update={"local_roots": ()})
    with TestClient(create_app(closed), headers=client.headers) as guarded:
        answer = guarded.post(JOBS, json=job(local(str(roots / "llama")), of_hub("acme/x")))
    assert (answer.status_code, answer.json()["code"]) == (422, "base_model_not_found")
    assert "PRUNERY_LOCAL_ROOTS" in answer.json()["detail"]
