"""The language reference as text to learn from."""

import json
from pathlib import Path
from pydoc_data.topics import topics

from cli.demo import text

TOPIC = """The "walk" statement
********************

   walk_stmt ::= "walk" expression
               | "run"

The *walk* statement is used to go from "'here'" to "'there'" (see section
Going Places); its double-
precision is **great** [3], as in "2**-1".

   >>> walk(1)
   2

Changed in version 3.9: It runs.

   This too belongs to that note.

+---------+---------+
| Step    | Meaning |
+---------+---------+

Note:

  With the first step you move, and
  from the "second" one on you walk.

1. If the walk was long, the return value
   from it is kept.

2. Else not.

-[ Footnotes ]-

[3] As great as can be.
"""


def test_markup_goes_and_english_stays() -> None:
    assert list(text.paragraphs(TOPIC)) == [
        'The "walk" statement',
        "The walk statement is used to go from 'here' to 'there'; its double-precision is great, as in \"2**-1\".",
        ">>> walk(1)\n2",
        'With the first step you move, and from the "second" one on you walk.',
        "1. If the walk was long, the return value from it is kept.",
        "2. Else not.",
        "As great as can be.",
    ]


def test_the_reference_is_clean_and_nothing_held_out_is_trained_on(tmp_path: Path) -> None:
    corpus = text.prepare(tmp_path)
    train, held_out = (
        [json.loads(line)["text"] for line in path.read_text().splitlines()] for path in (corpus.train, corpus.held_out)
    )
    whole = "\n\n".join(train + held_out)
    assert "::=" not in whole
    markup = ("+---", "****", "====", "See also:", "Changed in version", "New in version")
    assert not [line for line in whole.splitlines() if line.startswith(markup)]
    # Enough to fill the demo's windows, at about four characters a token.
    assert corpus.train_characters > 150_000
    assert 0.15 < corpus.held_out_characters / (corpus.train_characters + corpus.held_out_characters) < 0.21

    def long_paragraphs(texts: list[str]) -> set[str]:
        return {part for row in texts for part in row.split("\n\n") if len(part) >= text.REPEATABLE_CHARACTERS}

    assert not long_paragraphs(train) & long_paragraphs(held_out)
    assert sum(map(len, train + held_out)) < sum(map(len, topics.values()))


def test_the_split_is_the_same_every_time(tmp_path: Path) -> None:
    first, second = text.prepare(tmp_path / "first"), text.prepare(tmp_path / "second")
    assert first.train.read_bytes() == second.train.read_bytes()
    assert first.held_out.read_bytes() == second.held_out.read_bytes()
