"""Lines of a JSONL file, and the rows that they are."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import errors, rows
from jobs.rows import ChatRow, PromptRow, TextRow

MESSAGE = st.fixed_dictionaries({"role": st.text(), "content": st.text()})
EXTRA = st.dictionaries(st.text().filter(lambda key: key not in SHAPES), st.integers())
SHAPES = ("text", "prompt", "completion", "messages")


@given(text=st.text(), extra=EXTRA)
def test_a_text_is_kept_to_the_letter(text: str, extra: dict[str, Any]) -> None:
    line = json.dumps({"text": text, **extra})
    assert list(rows.read_jsonl([line, "", "  \n", line + "\r\n"])) == [TextRow(text)] * 2


@given(prompt=st.text(), completion=st.text(), extra=EXTRA)
def test_a_prompt_has_its_completion(prompt: str, completion: str, extra: dict[str, Any]) -> None:
    value = {**extra, "prompt": prompt, "completion": completion}
    assert rows.from_json(value, 1) == PromptRow(prompt, completion)


@given(messages=st.lists(MESSAGE, min_size=1), name=st.text())
def test_a_conversation_keeps_role_and_content_only(messages: list[dict[str, str]], name: str) -> None:
    named = [{**message, "name": name} for message in messages]
    assert rows.from_json({"messages": named}, 1) == ChatRow(tuple(messages))


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        '"text"',
        "null",
        "{}",
        '{"text": 1}',
        '{"text": null}',
        '{"prompt": "a"}',
        '{"completion": "a"}',
        '{"messages": []}',
        '{"messages": "a"}',
        '{"messages": [{"role": "user"}]}',
        '{"messages": [{"role": "user", "content": ["a"]}]}',
        "{text}",
        '{"text": "a"',
        "[" * 100_000,
        "9" * 10_000,
    ],
)
def test_a_row_of_another_shape_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(errors.DatasetInvalid, match=r"(Row|Line) 3") as refused:
        list(rows.read_jsonl(['{"text": "a"}', "", line, '{"text": "b"}']))
    assert "messages" in refused.value.hint


def test_all_rows_have_the_shape_of_the_first() -> None:
    with pytest.raises(errors.DatasetInvalid, match="Row 2"):
        list(rows.read_jsonl(['{"text": "a"}', '{"prompt": "a", "completion": "b"}']))
