"""Cutting block by block while calibration text flows through, so that what stays takes over.

Two streams of the same text pass the blocks side by side: one through the blocks as they were, one through the blocks
as they become. In each block, first o_proj and then down_proj are fitted to bring the second stream back to the first:
they make up for the units that they lost themselves, and for what earlier blocks could not make up for.

Legend: B windows in a batch, T tokens, D hidden channels, S kept input channels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

from jobs.shapes import ModelShape
from worker.engine import adapters, casting, reconstruction, surgery, unused_memory
from worker.engine.architectures import Family, Member
from worker.engine.blockwise import Stream, in_one_piece
from worker.engine.plan import Plan
from worker.engine.reconstruction import SecondMoments
from worker.engine.surgery import RemoveUnits

PULL = 0.75
"""Part of the way back to the first stream that is asked of a layer; half and all of it did no better."""

Seen = dict[Member, tuple[Tensor, Tensor]]
"""(B, T, S) and (B, T, D): what entered and what left each gate when its block ran last."""


@torch.no_grad()
def cut(
    model: PreTrainedModel,
    family: Family,
    shape: ModelShape,
    before: Plan,
    after: Plan,
    optimizer: Optimizer | None,
    ids_NT: Tensor,
    *,
    bfloat16: bool,
    remove: RemoveUnits = surgery.cut_block,
    aim: Literal["stream", "layer"] = "stream",
) -> None:
    """As `surgery.cut`, and the frozen weights of the gates are corrected on the way.

    Args:
        before: what the model physically has; with `silence_block`, units that are zero already are among it.
        ids_NT: calibration windows; their hidden states stay in memory, the rest passes in pieces.
        bfloat16: whether the text flows in bfloat16; the solves never do.
        remove: how units leave a block.
        aim: what the gates are fitted to: the stream as it was, or only their own answers to the stream as it is.
    """
    training = model.training
    model.eval()
    casting.let_go(model)
    blocks = list(family.layers(model))
    stay = {layer.index: layer for layer in after.layers}
    pull = PULL if aim == "stream" and family.adds_gates else 0.0
    # Without its cache: that would keep casts of weights as they were before the cut.
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False):
        now = Stream(model, blocks, ids_NT)
        was = now.copy()
        surgery.drop_layers(model, family, before, after, optimizer)
        for index, (block, old) in enumerate(zip(blocks, before.layers, strict=True)):
            if not pull:
                was = now.copy()
            mending = _Mending(block, [family.gate(kind) for kind in family.kinds], now, was, index, pull)
            if old.index in stay:
                remove(block, family, shape, old, stay[old.index], optimizer)
                mending.mend()
                now.advance(index)
            del mending  # with the answers of this block, before those of the next one are kept
            casting.let_go(block)
            unused_memory.give_back()  # or what one block leaves in pieces, the next one finds no use for
    model.train(training)


class _Mending:
    """The gates of one block, in the order in which they act, on their way to answer as they should."""

    def __init__(
        self, block: nn.Module, gates: Sequence[Member], now: Stream, was: Stream, index: int, pull: float
    ) -> None:
        """Has the stream that `was` advance through the block, which is still whole, and takes note of its answers."""
        self._block, self._gates, self._pull = block, gates, pull
        self._now, self._index = now, index
        self._behind = was.copy().hidden
        self._wanted: dict[Member, list[Tensor]] = {}
        with _watched(block, gates) as seen:
            for batch, (then_BTD, now_BTD) in enumerate(zip(was.hidden, now.hidden, strict=True)):
                self._behind[batch] -= now_BTD
                then_BTD.copy_(was.run(index, batch))
                for gate, (_, answer) in seen.items():
                    answer_BTD = answer.view_as(then_BTD)  # OPT's FFN sees the tokens of all sequences in one row
                    if gate not in self._wanted:
                        self._wanted[gate] = in_one_piece(answer_BTD, sum(map(len, was.hidden)))
                    self._wanted[gate][batch].copy_(answer_BTD)

    def mend(self) -> None:
        """Correct the gates' frozen weights one after the other; the block has been cut."""
        for number, gate in enumerate(self._gates):
            moments: SecondMoments | None = None
            with _watched(self._block, self._gates[: number + 1], stop=True) as seen:
                for batch in range(len(self._now.hidden)):
                    with suppress(_Reached):
                        self._now.run(self._index, batch)
                    inputs_NS, errors_NO = seen[gate][0].flatten(0, -2), self._errors(batch, seen).flatten(0, -2)
                    if moments is None:
                        window = self._now.hidden[batch].shape[1]
                        moments = SecondMoments(inputs_NS.shape[1], errors_NO.shape[1], inputs_NS.device, window=window)
                    with torch.autocast(inputs_NS.device.type, enabled=False):
                        moments.add(inputs_NS, errors_NO)
            assert moments is not None
            adapters.add_to_frozen(self._block, gate, reconstruction.correction(moments))

    def _errors(self, batch: int, seen: Seen) -> Tensor:
        """(B, T, D): what the last gate seen should have answered beside what it did.

        Its share is its own difference; what the stream lacks in front of it is asked of it in part.
        """
        behind_BTD = self._behind[batch]
        own_BTD = torch.zeros_like(behind_BTD)
        for gate, (_, answer) in seen.items():
            behind_BTD = behind_BTD + own_BTD
            own_BTD = self._wanted[gate][batch].float() - answer.view_as(behind_BTD).float()
        return own_BTD + self._pull * behind_BTD


class _Reached(Exception):
    """The last gate that is watched has answered; what comes behind it need not be computed."""


@contextmanager
def _watched(block: nn.Module, gates: Sequence[Member], *, stop: bool = False) -> Iterator[Seen]:
    seen: Seen = {}

    def see(gate: Member, module: nn.Module, arguments: tuple[Any, ...], answer: Tensor) -> None:
        seen[gate] = arguments[0], answer
        if stop and gate is gates[-1]:
            raise _Reached

    hooks = [block.get_submodule(gate.path).register_forward_hook(partial(see, gate)) for gate in gates]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
