"""The check of a text does not depend on how its bytes arrive."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import texts
from jobs import errors

CUTS = st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=50)
LINES = st.lists(
    st.one_of(
        st.text().map(lambda text: json.dumps({"text": text}, ensure_ascii=False).encode("utf-8", "ignore")),
        st.sampled_from([b"", b"  ", b"\r", b'{"nope": 1}', b"{", b"\xff", b"\x00"]),
    ),
    max_size=8,
)


def verdict(name: str, chunks: list[bytes]) -> str:
    try:
        texts.check(name, chunks)
    except errors.DatasetError as error:
        return error.detail
    return "sound"


@given(lines=LINES, cuts=CUTS)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_the_verdict_is_the_same_however_the_bytes_are_cut(name: str, lines: list[bytes], cuts: list[int]) -> None:
    content = b"\n".join(lines)
    pieces, start = [], 0
    while start < len(content):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(content[start : start + size])
        start += size
    bytewise = [content[place : place + 1] for place in range(len(content))]
    # Of two faults either may be met first; that there is one must not depend on the cuts.
    assert (verdict(name, pieces) == "sound") == (verdict(name, bytewise) == "sound")


@given(st.text())
def test_every_text_of_characters_is_sound(text: str) -> None:
    content = text.encode("utf-8", "ignore").replace(b"\0", b"")
    assert verdict("a.txt", [content, b"!"]) == "sound"


@given(st.text())
def test_a_clean_name_is_one_short_path_part(name: str) -> None:
    try:
        cleaned = texts.clean_name(name.encode("utf-8", "ignore").decode())
    except ValueError:
        return
    assert cleaned not in {"", ".", ".."}
    assert not set("/\\\n\r\0\x7f") & set(cleaned)
    assert len(cleaned.encode()) <= texts.LONGEST_NAME
    assert texts.clean_name(cleaned) == cleaned


def test_a_long_name_keeps_its_ending() -> None:
    assert texts.clean_name("dir/" + "ü" * 300 + ".jsonl") == "ü" * 97 + ".jsonl"
    assert texts.clean_name("C:\\texts\\train.jsonl") == "train.jsonl"
