"""From files to windows: every shape of row, and every way in which a data set can be wrong."""

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from jobs import errors
from jobs.sources import LocalData
from tests.models import byte_tokenizer
from worker.engine import datasets, windows
from worker.engine.windows import IGNORED, Windows


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    found = byte_tokenizer()
    found.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    return found


def read(path: Path, tokenizer: PreTrainedTokenizerFast, length: int = 16, **fields: int) -> Windows:
    return datasets.read(LocalData(source="local", path=str(path), **fields), tokenizer, length=length, seed=0)


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_a_plain_text_is_one_stream_that_loses_only_its_end(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    text = "".join(f"Line {number} of a text that is long enough.\n" for number in range(40))
    path = tmp_path / "text.txt"
    path.write_text(text)
    found = read(path, tokenizer)
    ids = tokenizer(text).input_ids
    assert found.ids_NT.flatten().tolist() == ids[: len(found) * 16]
    assert len(found) == len(ids) // 16
    assert (found.labels_NT == found.ids_NT).all()


def test_pieces_of_a_text_are_the_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one\ntwo\n\nthree\nfour")
    pieces = list(windows.text_pieces(path, size=5))
    assert "".join(pieces) == "one\ntwo\n\nthree\nfour"
    assert len(pieces) > 1


def test_rows_end_with_the_end_of_text_token(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = write(tmp_path / "rows.jsonl", {"text": "first row"}, {"text": "second row"}, {"text": "third row"})
    found = read(path, tokenizer, length=4)
    assert (found.ids_NT == tokenizer.eos_token_id).sum() >= 2


def test_only_the_completion_is_learned(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = write(tmp_path / "rows.jsonl", {"prompt": "What is it? ", "completion": "A word."})
    prompt = len(tokenizer("What is it? ").input_ids)
    total = prompt + len(tokenizer("A word.").input_ids) + 1
    found = read(path, tokenizer, length=total)
    assert found.labels_NT[0, :prompt].tolist() == [IGNORED] * prompt
    assert found.labels_NT[0, prompt:].tolist() == found.ids_NT[0, prompt:].tolist()
    assert found.ids_NT[0, -1] == tokenizer.eos_token_id


def test_chats_are_written_with_the_models_template(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = write(tmp_path / "rows.jsonl", {"messages": [{"role": "user", "content": "Hello there, who is it?"}] * 3})
    found = read(path, tokenizer, length=8)
    assert tokenizer.decode(found.ids_NT.flatten()).startswith("<user>Hello there")


def test_the_same_seed_gives_the_same_windows(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = write(tmp_path / "rows.jsonl", *({"text": f"row number {number} of the set"} for number in range(30)))
    first, second = read(path, tokenizer), read(path, tokenizer)
    assert (first.ids_NT == second.ids_NT).all()
    assert len(read(path, tokenizer, max_samples=5)) < len(first)


def test_a_split_holds_out_the_last_windows_and_loses_none(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = write(tmp_path / "rows.jsonl", *({"text": f"row number {number} of the set"} for number in range(60)))
    found = read(path, tokenizer)
    kept, held_out = found.split(0.25)
    assert len(kept) + len(held_out) == len(found)
    assert len(held_out) == round(0.25 * len(found))


@pytest.mark.parametrize(
    ("name", "content", "error", "says"),
    [
        ("empty.jsonl", b"", errors.DatasetEmpty, "empty"),
        ("blank.jsonl", b"\n\n \n", errors.DatasetEmpty, "no text"),
        ("empty.txt", b"", errors.DatasetEmpty, "empty"),
        ("rows.jsonl", b'{"text": "a b c d"}\n{"label": 3}', errors.DatasetInvalid, "Row 2 has another shape .*label"),
        ("mixed.jsonl", b'{"text": "a"}\n{"prompt": "b", "completion": "c"}', errors.DatasetInvalid, "Row 2"),
        ("list.jsonl", b"[1, 2]", errors.DatasetInvalid, "Row 1 is list"),
        ("broken.jsonl", b'{"text": "a"}\n{"text": ', errors.DatasetInvalid, "Line 2 is not JSON"),
        ("number.jsonl", b'{"text": 5}', errors.DatasetInvalid, "Row 1"),
        ("latin.txt", b"caf\xe9 " * 20, errors.DatasetInvalid, "UTF-8"),
        ("short.txt", b"too short", errors.DatasetTooShort, "less than one window of 16"),
        ("object.json", b'{"a": 1}', errors.DatasetInvalid, "not a list"),
    ],
)
def test_a_wrong_data_set_is_a_named_error(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, name: str, content: bytes, error: type[Exception], says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error, match=says):
        read(path, tokenizer)


def test_text_that_leaves_nothing_to_hold_out_or_to_measure_is_a_named_error() -> None:
    ids_NT = torch.zeros(2, 16, dtype=torch.int32)
    with pytest.raises(errors.DatasetTooShort, match="fills one window only"):
        Windows(ids_NT[:1], ids_NT[:1]).split(0.5)
    _, held_out = Windows(ids_NT, ids_NT).split(0.5)
    assert len(held_out.resized(8)) == 2
    with pytest.raises(errors.DatasetTooShort, match="has 16 tokens, less than one window of 17"):
        held_out.resized(17)


def test_a_missing_file_is_a_named_error(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(errors.DatasetNotFound):
        read(tmp_path / "nothing.txt", tokenizer)


def test_chat_rows_need_a_chat_template(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", {"messages": [{"role": "user", "content": "Hi"}]})
    with pytest.raises(errors.DatasetInvalid, match="no chat template"):
        read(path, byte_tokenizer())


def test_a_conversation_that_the_template_refuses_is_named(tmp_path: Path) -> None:
    strict = byte_tokenizer()
    strict.chat_template = "{{ raise_exception('Roles must alternate') }}"
    path = write(tmp_path / "rows.jsonl", {"messages": [{"role": "user", "content": "Hi"}] * 2})
    with pytest.raises(errors.DatasetInvalid, match=r"Roles must alternate.*user, user"):
        read(path, strict)


def test_windows_of_which_nothing_is_learned_are_left_out(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = "many words of a question " * 9
    path = write(tmp_path / "rows.jsonl", {"prompt": prompt, "completion": "an answer " * 9})
    found = read(path, tokenizer, length=8)
    assert 1 <= len(found) < len(tokenizer(prompt + "an answer " * 9).input_ids) // 8
    assert all((labels_T[1:] != IGNORED).any() for labels_T in found.labels_NT)
    with pytest.raises(errors.DatasetEmpty, match="anything to learn"):  # the answer does not fill a window
        read(write(path, {"prompt": prompt, "completion": "."}), tokenizer, length=len(tokenizer(prompt).input_ids))


def test_of_a_plain_text_so_many_lines_are_read(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    lines = [f"Line {number} of a text.\n" for number in range(30)]
    path = tmp_path / "text.txt"
    path.write_text("".join(lines))
    few = tokenizer("".join(lines[:10])).input_ids
    assert read(path, tokenizer, max_samples=10).ids_NT.flatten().tolist() == few[: len(few) // 16 * 16]
