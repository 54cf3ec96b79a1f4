"""Uploaded texts: stored whole, or refused and not stored at all."""

import hashlib
import json
from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from jobs.files import Files, upload_folder
from tests.app.conftest import MAX_UPLOAD

FILES = "/v1/files"
ROW = json.dumps({"text": "Grüße, 世界"}, ensure_ascii=False).encode() + b"\n"


def test_an_upload_is_stored_under_its_id_with_its_hash(client: TestClient, files: Files) -> None:
    many = ROW * (10 * 2**20 // len(ROW))  # more than one part
    sent = {"small.txt": b"one line", "many.jsonl": many, "Gr\u00fc\u00dfe.txt": b"\xef\xbb\xbfwith a mark\r\n"}
    for name, content in sent.items():
        made = client.post(FILES, params={"name": name}, content=content)
        assert made.status_code == 201, made.text
        described = made.json()
        assert described["object"] == "file"
        assert (described["name"], described["bytes"]) == (name, len(content))
        assert described["sha256"] == hashlib.sha256(content).hexdigest()
        assert client.get(f"{FILES}/{described['id']}").json() == described
        (kept,) = files.list_prefix(f"s3://{files.bucket}/{upload_folder(described['id'])}")
        assert kept.name == name
        assert b"".join(files.open_range(kept.key, 0, kept.bytes)) == content


REFUSED = {
    "empty": ("a.txt", b"", 422, "dataset_empty", "a.txt"),
    "blank": ("a.txt", b" \r\n\t" * 999, 422, "dataset_empty", "a.txt"),
    "no rows": ("a.jsonl", b"\n\n  \n", 422, "dataset_empty", "a.jsonl"),
    "another shape": ("a.jsonl", ROW * 3 + b'{"txt": "x"}\n' + ROW, 422, "dataset_invalid", "Row 4"),
    "mixed shapes": ("a.jsonl", ROW + b'{"prompt": "a", "completion": "b"}', 422, "dataset_invalid", "Row 2"),
    "not JSON": ("a.jsonl", ROW + b"{text}\n", 422, "dataset_invalid", "Line 2"),
    "nested without end": ("a.JSONL", b"[" * 200_000, 422, "dataset_invalid", "Line 1"),
    "a number without end": ("a.ndjson", b"9" * 5000, 422, "dataset_invalid", "Line 1"),
    "an endless line": ("a.jsonl", b'{"text": "' + b"x" * 5 * 2**20, 422, "dataset_invalid", "Line 1 is longer"),
    "not UTF-8": ("a.txt", b"caf\xe9 au lait", 422, "dataset_invalid", "Byte 3"),
    "cut in a character": ("a.txt", "世界".encode()[:-1], 422, "dataset_invalid", "Byte 3"),
    "binary": ("a.bin", b"text and \0 then", 422, "dataset_invalid", "Byte 9"),
    "late binary": ("a.txt", b"text " * 2**21 + b"\0", 422, "dataset_invalid", f"Byte {5 * 2**21}"),
    "over the limit": ("a.txt", b"x" * (MAX_UPLOAD + 1), 413, "body_too_large", str(MAX_UPLOAD)),
    "no file name": ("..", b"text", 422, "invalid_parameter", "/name"),
    "only a folder": ("folder/", b"text", 422, "invalid_parameter", "/name"),
}


@pytest.mark.parametrize("announced", [True, False], ids=["with its length", "in chunks"])
def test_a_refused_upload_leaves_nothing(
    announced: bool, client: TestClient, stored: Callable[[], tuple[int, ...]], subtests: pytest.Subtests
) -> None:
    for case, (name, content, status, code, said) in REFUSED.items():
        with subtests.test(case):
            body = content if announced else _pieces(content)
            answer = client.post(FILES, params={"name": name}, content=body)
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (status, code), problem
            assert said in problem["detail"]
            assert stored() == (0, 0, 0, 0, 0, 0)


def test_a_form_is_refused_as_it_would_be_stored_with_its_wrapping(
    client: TestClient, stored: Callable[[], tuple[int, ...]]
) -> None:
    answer = client.post(FILES, params={"name": "a.txt"}, files={"file": b"text"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert stored() == (0, 0, 0, 0, 0, 0)


def _pieces(content: bytes, size: int = 60_001) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]
