"""What the dense model believes about the training text: asked for while training, or noted before the first cut.

Legend: N windows, B sequences, T tokens, D hidden channels, V vocabulary, K tokens that a belief names; t, some of T.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from jobs.memory import LOSS_TOKENS
from worker.engine import language_head
from worker.engine.distilled_loss import Belief, Best, Mix, Whole
from worker.engine.language_head import Head
from worker.engine.windows import Windows

BATCH_TOKENS = 2048
"""Tokens per forward pass of a teacher that notes its beliefs."""


class Said(Protocol):
    """What a teacher has to say about one sequence."""

    def at(self, place_t: Tensor) -> Belief:
        """What it believes about the tokens that follow on these places."""


Ask = Callable[[Tensor, Tensor | None], Sequence[Said]]
"""What is said about sequences (B, T), numbered (B,) as in the training text: one each."""


@dataclass(frozen=True)
class Teaching:
    """Whom to ask, and how much to make of the answer."""

    ask: Ask
    mix: Mix


class Numbered(Dataset[dict[str, Tensor]]):
    """Windows that say which ones they are, whatever the order in which they are drawn."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._windows[index] | {"number": torch.tensor(index)}


@dataclass(frozen=True)
class Heard:
    """What a teacher's decoder answered to one sequence; logits are made of it as they are asked for."""

    hidden_TD: Tensor
    head: Head

    @torch.no_grad()
    def at(self, place_t: Tensor) -> Whole:
        """In the teacher's own dtype."""
        with torch.autocast(self.hidden_TD.device.type, enabled=False):
            return Whole(self.head(self.hidden_TD[place_t]))


class OnlineTeacher:
    """The dense model itself, frozen, in its own dtype."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._decoder = model.eval().get_decoder()
        self._head = language_head.of(model)

    @torch.no_grad()
    def __call__(self, ids_BT: Tensor, numbers_B: Tensor | None) -> Sequence[Heard]:
        """Answers for these very tokens."""
        with torch.autocast(ids_BT.device.type, enabled=False):
            hidden_BTD = self._decoder(input_ids=ids_BT, use_cache=False).last_hidden_state
        return [Heard(hidden_TD, self._head) for hidden_TD in hidden_BTD]


class CachedTeacher:
    """The likeliest next tokens at every place, with their log-probabilities in float32, in two files."""

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        """`shape`: (N, T - 1, K). Takes the disk space at once, so that a full disk is an error and not a signal."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log_probs = _room(folder / "log_probs.f32", np.dtype(np.float32), shape)
        self._tokens = _room(folder / "tokens.i32", np.dtype(np.int32), shape)

    @torch.inference_mode()
    def listen(self, model: PreTrainedModel, windows: Windows, temperature: float) -> None:
        """Note what the dense model says about each window; temperature 1 is the model as it is."""
        ask, done = OnlineTeacher(model), 0
        for ids_BT in windows.ids_NT.split(max(1, BATCH_TOKENS // windows.ids_NT.shape[1])):
            for said in ask(ids_BT.long().to(model.device), None):
                for place_t in torch.arange(ids_BT.shape[1] - 1).split(LOSS_TOKENS):
                    log_p_tV = (said.at(place_t).logits_TV.float() / temperature).log_softmax(dim=-1)
                    best, place = log_p_tV.topk(self._tokens.shape[-1]), place_t.numpy()
                    self._log_probs[done, place] = best.values.cpu().numpy()
                    self._tokens[done, place] = best.indices.cpu().numpy()
                done += 1

    def __call__(self, ids_BT: Tensor, numbers_B: Tensor | None) -> Sequence[Best]:
        """What was noted about the windows with these numbers."""
        assert numbers_B is not None
        return [Best(*self._noted(number, ids_BT.device)) for number in numbers_B.tolist()]

    def _noted(self, number: int, device: torch.device) -> tuple[Tensor, Tensor]:
        log_probs_TK, tokens_TK = np.array(self._log_probs[number]), np.array(self._tokens[number])
        return torch.from_numpy(log_probs_TK).to(device), torch.from_numpy(tokens_TK).to(device)


def _room(path: Path, dtype: np.dtype[np.float32] | np.dtype[np.int32], shape: tuple[int, ...]) -> np.memmap:
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)) * dtype.itemsize)
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape)
