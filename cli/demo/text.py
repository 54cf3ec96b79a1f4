"""The demo's text: the Python language reference that every CPython carries (`pydoc_data`), cleaned and split."""

import json
import random
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SEED = 20
HELD_OUT = 0.2
MINIMUM_CHARACTERS = 200

# Below this a paragraph ("For example:") may rightly occur in several topics.
REPEATABLE_CHARACTERS = 60

ITEM = r"(?:\*|-|\d+\.|\[\d+\])\s+"
NOTES = re.compile(rf"(?:{ITEM})?(See also|(New|Added|Changed) in version|Deprecated since|Availability)\b")
LABEL = re.compile(r"(Note|Notes|Warning|Tip|Important|Footnotes|-\[ Footnotes \]-):?$")
TABLE = re.compile(r"\s*(\+[-=+]+\+|\|.*\|)\s*$")
UNDERLINE = re.compile(r"\s*([*=\-~^#\"])\1{2,}$")
CODE = re.compile(r"(>>>|\.\.\.|#|@|\$|(async|class|def|del|for|from|if|import|match|print|return|try|while|with)\b)")


@dataclass(frozen=True)
class Corpus:
    """Two JSONL files of {"text": …} rows; no topic and no long paragraph is in both."""

    train: Path
    held_out: Path
    train_characters: int
    held_out_characters: int


def prepare(folder: Path) -> Corpus:
    """Write the corpus under `folder`; the same bytes on every run of one Python version."""
    from pydoc_data.topics import topics

    train, held_out = split(documents(topics), HELD_OUT, SEED)
    paths = [_write(folder / "train.jsonl", train), _write(folder / "held_out.jsonl", held_out)]
    return Corpus(paths[0], paths[1], sum(map(len, train)), sum(map(len, held_out)))


def documents(topics: Mapping[str, str]) -> dict[str, str]:
    """Topic to clean text.

    Some topics are chapters that contain other topics whole. Each paragraph is kept in the longest topic that has it,
    so that nothing held out was trained on, and what is then left of a short topic is dropped.
    """
    seen: set[str] = set()
    cleaned: dict[str, str] = {}
    for name, source in sorted(topics.items(), key=lambda item: (-len(item[1]), item[0])):
        texts = list(paragraphs(source))
        fresh = [text for text in texts if len(text) < REPEATABLE_CHARACTERS or text not in seen]
        seen.update(texts)
        length = sum(map(len, fresh))
        if length >= MINIMUM_CHARACTERS and length > sum(map(len, texts)) / 2:
            cleaned[name] = "\n\n".join(fresh)
    return cleaned


def split(texts: Mapping[str, str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Whole topics, drawn by seed, until `fraction` of the characters is held out: (train, held out)."""
    names = sorted(texts)
    random.Random(seed).shuffle(names)
    budget = fraction * sum(map(len, texts.values()))
    train, held_out = [], []
    for name in names:
        if len(texts[name]) <= budget:
            budget -= len(texts[name])
            held_out.append(texts[name])
        else:
            train.append(texts[name])
    return train, held_out


def paragraphs(source: str) -> Iterator[str]:
    """The paragraphs of one topic without markup, grammar, tables, version notes and links."""
    skip_deeper_than: int | None = None
    for block in re.split(r"\n\s*\n", source.strip("\n")):
        indent = len(block) - len(block.lstrip())
        if skip_deeper_than is not None and indent > skip_deeper_than:
            continue
        skip_deeper_than = None
        lines = textwrap.dedent(block).splitlines()
        if NOTES.match(lines[0]):
            # Its body is the more deeply indented blocks that follow.
            skip_deeper_than = indent
            continue
        if text := _paragraph(lines, indented=indent > 0):
            yield text


def _paragraph(lines: list[str], *, indented: bool) -> str:
    if any("::=" in line or TABLE.match(line) for line in lines):
        return ""
    lines = [line for line in lines if not UNDERLINE.match(line) and not LABEL.match(line.strip())]
    text = "\n".join(lines)
    if indented and (CODE.match(text) or not _is_prose(text)):
        return text.rstrip()
    unbroken = re.sub(r"(?<=[A-Za-z])-\n\s*(?=[a-z])", "-", text)
    items = re.split(rf"\n(?={ITEM})", unbroken)
    return "\n".join(_plain(" ".join(item.split())) for item in items)


def _is_prose(text: str) -> bool:
    """English has few signs; a block of code or a signature has many."""
    words = text.split()
    plain = sum(bool(re.fullmatch(r"[\"'*(“]*[A-Za-z’'-]+[\"'*).,:;”]*", word)) for word in words)
    return plain >= 0.7 * len(words)


def _plain(text: str) -> str:
    """One line of prose without the marks of emphasis, links and footnotes."""
    text = re.sub(r"^\[\d+\]\s+", "", text)
    text = re.sub(r"\s*\((?:[Ss]ee|[Ff]or (?:more )?(?:full )?details,? see)[^()]*\)", "", text)
    text = re.sub(r"\s*<https?://[^>]*>", "", text)
    text = re.sub(r"(?<![\w*\"'])\*{1,2}(\w[^*\"]*?)\*{1,2}(?![\w*\"'])", r"\1", text)
    text = re.sub(r"(?<=[\w.,\")]) ?\[\d+\](?=[\s.,;:)]|$)", "", text)
    return re.sub(r"\"('[^'\"]+')\"", r"\1", text)


def _write(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    return path
