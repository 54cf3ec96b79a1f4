"""The header of a GGUF file, against files written by the format's own library."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from starlette.testclient import TestClient

from app import gguf
from jobs import errors
from tests.app.conftest import job

EXPECTED = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "intermediate_size": 256,
    "max_position_embeddings": 1024,
    "vocab_size": 300,
    "tie_word_embeddings": False,
}


@pytest.fixture
def write(roots: Path) -> Callable[..., Path]:
    def write(name: str, architecture: str = "llama", tensors: tuple[str, ...] = ("output.weight",)) -> Path:
        writer = GGUFWriter(roots / name, architecture)
        writer.add_block_count(2)
        writer.add_embedding_length(64)
        writer.add_head_count(8)
        writer.add_head_count_kv(4)
        writer.add_key_length(8)
        writer.add_feed_forward_length(256)
        writer.add_context_length(1024)
        writer.add_token_list([f"token {number} ü" for number in range(300)])
        writer.add_token_scores([0.5] * 300)
        writer.add_array("made.nested", [True, False])
        writer.add_float32("made.half", 0.5)
        for tensor in ("token_embd.weight", *tensors):
            writer.add_tensor(tensor, np.zeros((4, 8), dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return roots / name

    return write


@pytest.mark.parametrize(
    ("architecture", "tensors", "says"), [("qwen2", (), "qwen2"), ("llama", ("rope_freqs.weight",), "rotary")]
)
def test_what_the_engine_could_not_read_is_refused(
    write: Callable[..., Path], architecture: str, tensors: tuple[str, ...], says: str
) -> None:
    path = write("other.gguf", architecture, tensors)
    with pytest.raises(errors.UnsupportedArchitecture, match=says):
        gguf.config(iter([path.read_bytes()]))


def bytewise(content: bytes) -> Iterator[bytes]:
    return (content[place : place + 1] for place in range(len(content)))


def test_the_header_says_what_config_json_would(write: Callable[..., Path]) -> None:
    content = write("model.gguf").read_bytes()
    assert gguf.config(iter([content])) == EXPECTED
    assert gguf.config(bytewise(content)) == EXPECTED
    tied = write("tied.gguf", tensors=()).read_bytes()
    assert gguf.config(iter([tied])) == EXPECTED | {"tie_word_embeddings": True}


def test_a_header_that_ends_early_or_never_is_refused(write: Callable[..., Path]) -> None:
    content = write("tied.gguf", tensors=()).read_bytes()
    header = content.index(b"token_embd.weight")
    for length in range(0, header, 7):
        with pytest.raises(errors.BaseModelIncomplete):
            gguf.config(iter([content[:length]]))
    for place in (8, 16, 24):  # the counts of tensors and of keys, and the length of the first key
        wild = content[:place] + b"\xff" * 8 + content[place + 8 :]
        with pytest.raises(errors.BaseModelIncomplete):
            gguf.config(iter([wild]))
    one_key, lists_of_lists = struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", gguf.ARRAY), struct.pack("<IQ", gguf.ARRAY, 1)
    with pytest.raises(errors.BaseModelIncomplete):
        gguf.config(iter([gguf.MAGIC + one_key + lists_of_lists * 10_000]))


def test_the_plan_of_a_gguf_and_its_refusals_are_known_at_the_door(
    write: Callable[..., Path], client: TestClient, roots: Path
) -> None:
    (roots / "text.jsonl").write_text('{"text": "some text"}\n' * 9)
    text = {"source": "local", "path": str(roots / "text.jsonl")}
    model = {"source": "gguf", "path": str(write("model.gguf"))}
    made = client.post("/v1/compression/jobs", json=job(model, text))
    assert made.status_code == 202, made.text
    assert made.json()["plan"]["kv_heads"] == {"before": 4, "after": 3}
    longer = client.post("/v1/compression/jobs", json=job(model, text, method__train__sequence_length=2048))
    assert (longer.status_code, longer.json()["code"]) == (422, "sequence_too_long")
    other = {"source": "gguf", "path": str(write("falcon.gguf", "falcon"))}
    refused = client.post("/v1/compression/jobs", json=job(other, text))
    assert (refused.status_code, refused.json()["code"]) == (422, "unsupported_architecture")
