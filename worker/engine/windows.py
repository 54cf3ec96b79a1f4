"""From rows to windows: fixed-length pieces of a token stream, with a note of which tokens are learned."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jinja2 import TemplateError
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from jobs import errors
from jobs.rows import ChatRow, ChoiceRow, PromptRow, Row, TextRow

IGNORED = -100
"""The label of a token that is not learned, as PyTorch's cross-entropy has it."""

PIECE = 1 << 20
"""Characters of a plain text tokenised at once."""

Encoded = tuple[list[int], bool]
"""Token ids, and whether they are learned."""


class Windows(Dataset[dict[str, Tensor]]):
    """N windows of T tokens."""

    def __init__(self, ids_NT: Tensor, labels_NT: Tensor) -> None:
        self.ids_NT = ids_NT
        self.labels_NT = labels_NT

    def __len__(self) -> int:
        return len(self.ids_NT)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.ids_NT[index].long(), "labels": self.labels_NT[index].long()}

    def first(self, count: int) -> "Windows":
        """The first windows, all of them if they are fewer."""
        return Windows(self.ids_NT[:count], self.labels_NT[:count])

    def last(self, count: int) -> "Windows":
        """The last windows, all of them if they are fewer."""
        return Windows(self.ids_NT[-count:], self.labels_NT[-count:])

    def shuffled(self, seed: int) -> "Windows":
        """The same windows in another order."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return Windows(self.ids_NT[order], self.labels_NT[order])

    def split(self, part: float) -> tuple["Windows", "Windows"]:
        """All but the last `part` of the windows, and those; each side gets at least one.

        Raises:
            DatasetTooShort: there is only one window.
        """
        if len(self) < 2:
            raise errors.DatasetTooShort(
                "The text fills one window only, so nothing can be held out to evaluate on.",
                hint="Give more text, a shorter sequence_length, or an evaluation.dataset.",
            )
        held_out = min(max(1, round(part * len(self))), len(self) - 1)
        cut = len(self) - held_out
        return (
            Windows(self.ids_NT[:cut], self.labels_NT[:cut]),
            Windows(self.ids_NT[cut:], self.labels_NT[cut:]),
        )

    def resized(self, length: int) -> "Windows":
        """The same tokens in windows of another length; what does not fill one is dropped.

        Raises:
            DatasetTooShort: less than one window.
        """
        count = self.ids_NT.numel() // length
        if count == 0:
            raise errors.DatasetTooShort(
                f"What is held out has {self.ids_NT.numel()} tokens, less than one window of {length}.",
                hint="Give more text, a larger validation_split, or a shorter evaluation.window.",
            )
        return Windows(
            *(part.flatten()[: count * length].view(count, length) for part in (self.ids_NT, self.labels_NT))
        )


def encode_text(pieces: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[Encoded]:
    """One long document, given in pieces; only its start gets what the tokenizer puts before a text."""
    for number, piece in enumerate(pieces):
        yield tokenizer(piece, add_special_tokens=number == 0).input_ids, True


def encode_rows(rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase) -> Iterator[Encoded]:
    """Each row as a document of its own, ended by the end-of-text token.

    Raises:
        DatasetInvalid: questions, or chat rows where the model has no chat template, or one that refuses them.
    """
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    for row in rows:
        match row:
            case TextRow(text):
                yield tokenizer(text).input_ids + end, True
            case PromptRow(prompt, completion):
                yield tokenizer(prompt).input_ids, False
                yield tokenizer(completion, add_special_tokens=False).input_ids + end, True
            case ChatRow(messages):
                yield _encode_chat(messages, tokenizer), True
            case ChoiceRow():
                raise errors.DatasetInvalid(
                    "The rows are multiple-choice questions, which are to evaluate on, not to learn from.",
                    hint="Name them in evaluation.multiple_choice.",
                )


def _encode_chat(messages: tuple[dict[str, str], ...], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    if not tokenizer.chat_template:
        raise errors.DatasetInvalid(
            "The rows are chat messages, but the base model has no chat template.",
            hint="Use a chat model, or rows with text or with prompt and completion.",
        )
    try:
        text = tokenizer.apply_chat_template(list(messages), tokenize=False)
    except (TemplateError, ValueError) as error:
        raise errors.DatasetInvalid(
            f"The base model's chat template refuses a conversation: {error}.",
            hint=f"Its roles are {', '.join(message['role'] for message in messages[:8])}.",
        ) from error
    # The template writes the special tokens itself.
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def text_pieces(path: Path, size: int = PIECE, most_lines: int | None = None) -> Iterator[str]:
    """A text file in pieces that end at a line's end, so that no word is torn apart."""
    with path.open(encoding="utf-8") as file:
        lines: list[str] = []
        length = 0
        for line in islice(file, most_lines):
            lines.append(line)
            length += len(line)
            if length >= size:
                yield "".join(lines)
                lines, length = [], 0
        if lines:
            yield "".join(lines)


def pack(encoded: Iterable[Encoded], length: int) -> Windows:
    """Join all tokens and cut them into windows of `length`; what does not fill a window is dropped.

    A window of which nothing is learned is dropped too: a batch of such has no loss.

    Raises:
        DatasetEmpty: there are no tokens, or none that is learned.
        DatasetTooShort: less than one window.
    """
    ids: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for tokens, learned in encoded:
        piece = np.asarray(tokens, dtype=np.int32)
        ids.append(piece)
        labels.append(piece if learned else np.full_like(piece, IGNORED))
    total = sum(map(len, ids))
    if not any((label != IGNORED).any() for label in labels):
        raise errors.DatasetEmpty("There is no text to learn from in the data set.")
    count = total // length
    if count == 0:
        raise errors.DatasetTooShort(
            f"The text has {total} tokens, less than one window of {length}.",
            hint="Give more text or a shorter sequence_length.",
        )

    def cut(parts: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts)[: count * length].reshape(count, length))

    ids_NT, labels_NT = cut(ids), cut(labels)
    taught_N = (labels_NT[:, 1:] != IGNORED).any(dim=1)  # the first token of a window is not predicted
    if not bool(taught_N.any()):
        raise errors.DatasetEmpty(
            f"No window of {length} tokens holds anything to learn.", hint="Prompts may be too long for it."
        )
    return Windows(ids_NT[taught_N], labels_NT[taught_N])
