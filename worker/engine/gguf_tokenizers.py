"""A tokenizer in the words of a GGUF file: the pieces, how they join, how a text is split before."""

import json
from typing import Any

from gguf import GGUFWriter, TokenType
from transformers import PreTrainedTokenizerBase

from jobs import errors

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LONE_DIGITS = ("Digits", True)
_GPT_2 = ("ByteLevel", True)
_BYTES = ("ByteLevel", False)
SPLITTERS: dict[tuple[tuple[str, object], ...], str] = {
    (_GPT_2,): "gpt-2",
    (_LONE_DIGITS, _GPT_2): "smollm",
    (("Split", _CONTRACTIONS + r"\p{N}{1,3}" + _REST), _BYTES): "llama-bpe",
    (("Split", _CONTRACTIONS + r"\p{N}" + _REST), _BYTES): "qwen2",
    (("Split", _TEKKEN), _BYTES): "tekken",
}
"""llama.cpp's names for the ways to split a text before byte pairs are joined, by the steps of a fast tokenizer. Any
other way cannot be written."""

NEVER_JOINED = -1e6
"""The score of a piece that no pair makes."""


def check(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises FormatImpossible if a GGUF file cannot hold this tokenizer."""
    state = _state(tokenizer)
    if not _is_sentencepiece(state):
        _splitter(state)


def describe(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
    """Everything that llama.cpp needs to read and write text with this tokenizer.

    Raises:
        FormatImpossible: it has no words for it.
    """
    state = _state(tokenizer)
    pieces = {place: piece for piece, place in tokenizer.get_vocab().items() if place < vocab_size}
    added = {token["id"]: token for token in state["added_tokens"]}
    writer.add_token_list([pieces.get(place, f"[PAD{place}]") for place in range(vocab_size)])
    writer.add_token_types([_type(place, pieces.get(place), added, tokenizer) for place in range(vocab_size)])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in state["model"]["merges"]]
    if _is_sentencepiece(state):
        ranks = {merge.replace(" ", ""): -float(rank) for rank, merge in reversed(list(enumerate(merges)))}
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores([ranks.get(pieces.get(place, ""), NEVER_JOINED) for place in range(vocab_size)])
        writer.add_add_space_prefix(_begins_with_space(state))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_splitter(state))
        writer.add_token_merges(merges)
        writer.add_add_space_prefix(False)
    _describe_ends(writer, tokenizer)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _describe_ends(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> None:
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    for token, add in (
        (begin, writer.add_bos_token_id),
        (end, writer.add_eos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if token is not None:
            add(token)
    around = tokenizer("").input_ids
    writer.add_add_bos_token(begin is not None and around[:1] == [begin])
    writer.add_add_eos_token(end is not None and len(around) > 1 and around[-1] == end)


def _state(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = {} if backend is None else json.loads(backend.to_str())
    kind = state.get("model", {}).get("type")
    if kind != "BPE":
        raise _impossible(f"it is a {kind or type(tokenizer).__name__}, and only byte pairs can be written")
    return state


def _is_sentencepiece(state: dict[str, Any]) -> bool:
    """Whether pieces are of text, blanks written ▁, and not of bytes."""
    return "ByteLevel" not in json.dumps([state["pre_tokenizer"], state["decoder"]])


def _splitter(state: dict[str, Any]) -> str:
    found = SPLITTERS.get(tuple(_step(step) for step in _steps(state["pre_tokenizer"])))
    if found is None:
        raise _impossible("it splits texts in a way that llama.cpp has no name for")
    return found


def _steps(step: dict[str, Any]) -> list[dict[str, Any]]:
    return step["pretokenizers"] if step["type"] == "Sequence" else [step]


def _step(step: dict[str, Any]) -> tuple[str, object]:
    match step["type"]:
        case "Digits":
            return step["type"], step["individual_digits"]
        case "ByteLevel" if not step["add_prefix_space"]:
            return step["type"], step["use_regex"]
        case "Split":
            return step["type"], step["pattern"].get("Regex")
        case other:
            return other, None


def _begins_with_space(state: dict[str, Any]) -> bool:
    before = json.dumps(state["normalizer"])
    splits = state["pre_tokenizer"] or {}
    return '"Prepend"' in before or splits.get("prepend_scheme", "never") != "never"


def _type(
    place: int, piece: str | None, added: dict[int, dict[str, Any]], tokenizer: PreTrainedTokenizerBase
) -> TokenType:
    if piece is None:
        return TokenType.UNUSED
    if place == tokenizer.unk_token_id:
        return TokenType.UNKNOWN
    if place in added:
        return TokenType.CONTROL if added[place]["special"] else TokenType.USER_DEFINED
    is_byte = len(piece) == len("<0x00>") and piece.startswith("<0x") and piece.endswith(">")
    return TokenType.BYTE if is_byte else TokenType.NORMAL


def _impossible(reason: str) -> errors.FormatImpossible:
    return errors.FormatImpossible(
        f"The tokenizer cannot go into a GGUF file: {reason}.", hint="Leave the gguf formats out of output.formats."
    )
