"""Protocols of perplexity: how a text becomes windows. Figures of two protocols do not compare."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from jobs import errors
from jobs.evaluations import EvaluationSpec, PerplexitySpec
from jobs.sources import HubData
from worker.engine import datasets
from worker.engine.windows import IGNORED, Windows


@dataclass(frozen=True)
class Protocol:
    """Windows with what has to be said of them."""

    name: str
    windows: Windows
    begin_of_text: bool
    text: str

    @property
    def predicted_tokens(self) -> int:
        """How many tokens a perplexity is the mean over: the first token of a window is not predicted."""
        return int((self.windows.labels_NT[:, 1:] != IGNORED).sum())


def held_out(windows: Windows, asked: EvaluationSpec, texts: Mapping[str, datasets.Reachable]) -> Protocol:
    """The protocol of the job's own held-out windows, made of one of `texts` as training windows are."""
    source = texts["/evaluation/dataset" if asked.dataset else "/dataset"]
    apart = "" if asked.dataset else f", the last {100 * asked.validation_split:.3g} % of its windows, never trained on"
    drawn = "" if datasets.is_plain(source) else ", rows as for training, in an order drawn from the seed"
    where = f"{_name(source)}{drawn}{apart}"
    first = Windows(windows.ids_NT[: asked.max_windows], windows.labels_NT[: asked.max_windows])
    return Protocol("held_out", first, False, where)


def prepare(
    asked: EvaluationSpec, texts: Mapping[str, datasets.Reachable], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Protocol]:
    """The further protocols that were asked for; `texts` by the JSON Pointer of the field that names each.

    Raises:
        DatasetError
        EvaluationImpossible: begin-of-text tokens are wanted of a tokenizer that has none.
    """
    for number, protocol in enumerate(asked.perplexities):
        source = texts[f"/evaluation/perplexities/{number}/dataset"]
        text = datasets.joined(source, protocol.join)
        yield Protocol(
            protocol.name, cut(text, protocol, tokenizer), protocol.begin_of_text, _named(source, protocol.join)
        )


def cut(text: str, protocol: PerplexitySpec, tokenizer: PreTrainedTokenizerBase) -> Windows:
    """One text, tokenised as a whole and cut into windows that do not overlap; what does not fill one is dropped.

    Raises:
        DatasetTooShort: less than one window.
        EvaluationImpossible
    """
    ids: list[int] = tokenizer(text, add_special_tokens=not protocol.begin_of_text, verbose=False).input_ids
    length = protocol.window - protocol.begin_of_text
    count = min(len(ids) // length, protocol.max_windows or len(ids))
    if count == 0:
        raise errors.DatasetTooShort(
            f"The text of {protocol.name} has {len(ids)} tokens, less than one window of {length}.",
            hint="Give more text or a shorter window.",
        )
    ids_NT = torch.tensor(ids[: count * length], dtype=torch.int32).view(count, length)
    if protocol.begin_of_text:
        if tokenizer.bos_token_id is None:
            raise errors.EvaluationImpossible(
                f"{protocol.name} asks for begin-of-text tokens, and the tokenizer has none.",
                hint="Leave out begin_of_text.",
            )
        ids_NT = torch.cat([torch.full((count, 1), tokenizer.bos_token_id, dtype=torch.int32), ids_NT], dim=1)
    return Windows(ids_NT, ids_NT)


def puts_begin_of_text(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts a begin-of-text token before a text by itself."""
    ids: list[int] = tokenizer("a").input_ids
    return tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id


def _named(source: datasets.Reachable, join: str) -> str:
    return _name(source) if datasets.is_plain(source) else f"{_name(source)}, rows joined by {join!r}"


def _name(source: datasets.Reachable) -> str:
    if isinstance(source, HubData):
        return " ".join(filter(None, [source.id, source.name, source.split]))
    return source.path.rpartition("/")[2]
