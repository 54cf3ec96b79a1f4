"""Running a decoder one block at a time, so that memory holds little else.

A `Stream` has all windows pass one block before the next begins, a few at once: memory holds their hidden states and
what a few of them need inside one block. `lent` has a device hold one block at a time of a model that lies elsewhere.

Legend: N windows, B of them in a batch, T tokens, D hidden channels.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from jobs.memory import CALIBRATION_TOKENS

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""What a block is given beside the hidden states: masks, position embeddings, each family its own."""


class Stream:
    """The hidden states of all windows on their way through the blocks.

    `hidden` are (B, T, D), batch by batch.
    """

    def __init__(self, model: PreTrainedModel, blocks: Sequence[nn.Module], ids_NT: Tensor) -> None:
        """Embeds the windows: they stand before the first of `blocks`, which are all blocks of `model`, in order."""
        self._blocks = blocks
        self.hidden: list[Tensor] = []
        self._arguments: dict[int, list[Arguments]] = {}
        for batch, ids_BT in enumerate(ids_NT.split(max(1, CALIBRATION_TOKENS // ids_NT.shape[1]))):
            hidden_BTD, arguments = _before_blocks(model, blocks, ids_BT)
            self.hidden = self.hidden or in_one_piece(hidden_BTD, len(ids_NT))
            self.hidden[batch].copy_(hidden_BTD)
            # They depend on the batch's size, not on its text.
            self._arguments.setdefault(len(ids_BT), arguments)

    def copy(self) -> "Stream":
        """Another stream that stands where this one does, and goes its own way."""
        other = copy.copy(self)
        other.hidden = in_one_piece(self.hidden[0], sum(map(len, self.hidden)))
        for there_BTD, here_BTD in zip(other.hidden, self.hidden, strict=True):
            there_BTD.copy_(here_BTD)
        return other

    def run(self, index: int, batch: int) -> Tensor:
        """What a block makes of one batch, which stays in front of it."""
        hidden_BTD = self.hidden[batch]
        rest, named = self._arguments[len(hidden_BTD)][index]
        after_BTD: Tensor = self._blocks[index](hidden_BTD, *rest, **named)
        return after_BTD

    def advance(self, index: int) -> None:
        """Have all windows run through a block, after which they stand before the next."""
        for batch, hidden_BTD in enumerate(self.hidden):
            hidden_BTD.copy_(self.run(index, batch))


def in_one_piece(like_BTD: Tensor, windows: int) -> list[Tensor]:
    """Room for all windows, in batches as large as `like_BTD`, the last one perhaps smaller.

    They are views of one tensor. By themselves they would lie among what comes and goes while a batch passes, and leave
    holes that nothing else fits into: a third more than a cut takes without them, on a CPU.
    """
    return list(like_BTD.new_empty(windows, *like_BTD.shape[1:]).split(len(like_BTD)))


@contextmanager
def forwarding(blocks: Sequence[nn.Module], forwards: Sequence[Callable[..., Any]]) -> Iterator[None]:
    """Have each block run another function in place of its own while the context is open."""
    own = [block.__dict__.get("forward") for block in blocks]
    for block, forward in zip(blocks, forwards, strict=True):
        block.forward = forward
    try:
        yield
    finally:
        for block, before in zip(blocks, own, strict=True):
            if before is None:
                del block.forward
            else:
                block.forward = before


@contextmanager
def lent(model: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> Iterator[None]:
    """While the context is open the model computes on `device`, in `dtype` if one is given, wherever it lies.

    Only what lies outside its blocks, and the block that runs, is held there; afterwards all is as it was.
    """
    # The longest list is that of the blocks; any other part of the model would do, and need more memory.
    blocks = max((list(part) for part in model.modules() if isinstance(part, nn.ModuleList)), key=len)
    inside = {id(tensor) for block in blocks for tensor in _tensors(block)}
    outside = [tensor for tensor in _tensors(model) if id(tensor) not in inside]

    def borrowed(block: nn.Module) -> Callable[..., Tensor]:
        own = block.forward

        def forward(*arguments: Any, **named: Any) -> Tensor:
            with _moved(_tensors(block), device, dtype):
                after: Tensor = own(*arguments, **named)
                return after

        return forward

    with forwarding(blocks, [borrowed(block) for block in blocks]), _moved(outside, device, dtype):
        yield


@contextmanager
def _moved(tensors: Iterable[Tensor], device: torch.device, dtype: torch.dtype | None) -> Iterator[None]:
    held = [(tensor, tensor.data) for tensor in tensors]
    try:
        for tensor, data in held:
            tensor.data = data.to(device, dtype if data.is_floating_point() else None)
        yield
    finally:
        for tensor, data in held:
            tensor.data = data


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


def _before_blocks(
    model: PreTrainedModel, blocks: Sequence[nn.Module], ids_BT: Tensor
) -> tuple[Tensor, list[Arguments]]:
    """What the first block is given, and what else each block is: the decoder runs, its blocks only pass on."""
    found: list[tuple[Tensor, Arguments]] = []

    def pass_on(hidden_BTD: Tensor, *rest: Any, **named: Any) -> Tensor:
        found.append((hidden_BTD, (rest, named)))
        return hidden_BTD

    with forwarding(blocks, [pass_on] * len(blocks)):
        model.get_decoder()(input_ids=ids_BT.long().to(model.device), use_cache=False)
    return found[0][0], [arguments for _, arguments in found]
