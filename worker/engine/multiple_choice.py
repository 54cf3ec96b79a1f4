"""Multiple-choice questions, answered by the likelihood of each choice after the query, as the lm-eval harness does.

Query, delimiter and choice are tokenised as one text. What follows the query's and the delimiter's last visible
character belongs to the choice, since the white space between two words is usually a part of the second one's token.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from jobs import errors
from jobs.memory import EVALUATION_TOKENS
from jobs.rows import ChoiceRow
from worker.engine import evaluation
from worker.engine.windows import IGNORED


@dataclass(frozen=True)
class Accuracy:
    """Parts of the questions answered right, and the standard errors of the two."""

    questions: int
    acc: float
    acc_stderr: float
    acc_norm: float
    acc_norm_stderr: float


@dataclass(frozen=True)
class Continuation:
    """Tokens of which the last `length` are a choice; the first of them all is only read."""

    tokens: list[int]
    length: int


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[ChoiceRow], *, delimiter: str
) -> Accuracy:
    """The highest sum of log-likelihoods answers (`acc`), and the highest per character of the choice (`acc_norm`).

    Of equal ones the first counts. What is longer than the model can read loses its beginning.

    Raises:
        LossNotFinite: the model answers with NaN or infinity.
    """
    longest = model.config.max_position_embeddings
    asked = [
        encode(question.query + delimiter, choice, tokenizer, longest)
        for question in questions
        for choice in question.choices
    ]
    likelihoods = log_likelihoods(model, asked)
    right, right_norm = [], []
    start = 0
    for question in questions:
        found = likelihoods[start : start + len(question.choices)]
        start += len(question.choices)
        per_character = [value / len(choice) for value, choice in zip(found, question.choices, strict=True)]
        right.append(found.index(max(found)) == question.gold)
        right_norm.append(per_character.index(max(per_character)) == question.gold)
    return Accuracy(len(questions), *_mean(right), *_mean(right_norm))


def encode(prompt: str, choice: str, tokenizer: PreTrainedTokenizerBase, longest: int) -> Continuation:
    """The last `longest` tokens of prompt and choice.

    Raises:
        DatasetInvalid: the choice has no token of its own.
    """
    context: list[int] = tokenizer(prompt.rstrip()).input_ids
    whole: list[int] = tokenizer(prompt + choice).input_ids
    length = len(whole) - len(context)
    if length < 1:
        raise errors.DatasetInvalid(f"The choice {choice!r} has no token of its own after its query.")
    whole = whole[-longest:]
    return Continuation(whole, min(length, len(whole) - 1))


@torch.inference_mode()
def log_likelihoods(model: PreTrainedModel, asked: Sequence[Continuation]) -> list[float]:
    """The log-likelihood of each continuation, in nats, summed in float64.

    Shorter sequences are filled up on the right, where a causal model does not look.
    """
    order = sorted(range(len(asked)), key=lambda place: -len(asked[place].tokens))
    found = [0.0] * len(asked)
    while order:
        longest = len(asked[order[0]].tokens)
        size = max(1, EVALUATION_TOKENS // longest)
        batch, order = order[:size], order[size:]
        ids_BT = torch.zeros(len(batch), longest, dtype=torch.long)
        labels_BT = torch.full_like(ids_BT, IGNORED)
        for row, place in enumerate(batch):
            tokens, length = torch.tensor(asked[place].tokens), asked[place].length
            ids_BT[row, : len(tokens)] = tokens
            labels_BT[row, len(tokens) - length : len(tokens)] = tokens[-length:]
        losses_N = torch.cat(
            [
                functional.cross_entropy(logits_CV.float(), targets_C, reduction="none").double().cpu()
                for logits_CV, targets_C in evaluation.predictions(model, ids_BT, labels_BT)
            ]
        )
        lengths = [asked[place].length for place in batch]
        for place, losses in zip(batch, losses_N.split(lengths), strict=True):
            found[place] = -float(losses.sum())
    if not all(map(math.isfinite, found)):
        raise errors.LossNotFinite("The log-likelihood of a choice is NaN or infinite.", hint="Write float32.")
    return found


def _mean(right: Sequence[bool]) -> tuple[float, float]:
    """With the standard error of the mean, from the sample's variance."""
    mean = sum(right) / len(right)
    return mean, math.sqrt(mean * (1 - mean) / max(1, len(right) - 1))
