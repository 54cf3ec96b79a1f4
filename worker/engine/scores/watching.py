"""Seeing what passes through a model beside its gradient, without changing or copying it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

Seen = Callable[[Tensor, Tensor], None]
"""Called in the backward pass with a tensor that passed and a gradient, for each micro-batch."""


class _Watched(torch.autograd.Function):
    """The identity on `passing`; its backward pass shows `shown` and the gradient.

    What is shown is saved the way autograd saves its own tensors, so that gradient checkpointing recomputes it instead
    of holding it, and a block that runs twice is seen once.
    """

    @staticmethod
    def forward(ctx: Any, passing: Tensor, shown: Tensor, seen: Seen) -> Tensor:
        ctx.save_for_backward(shown)
        ctx.seen = seen
        return passing.view_as(passing)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (shown,) = ctx.saved_tensors
        ctx.seen(shown, gradient)
        return gradient, None, None


def watch_input(layer: nn.Module, seen: Seen) -> RemovableHandle:
    """Show what enters a layer, and the gradient by it, at each backward pass."""

    def before(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        hidden, *rest = inputs
        if not hidden.requires_grad:  # an evaluation, or a cut
            return None
        return (_Watched.apply(hidden, hidden, seen), *rest)

    return layer.register_forward_pre_hook(before)


def watch_layer(layer: nn.Module, seen: Seen) -> RemovableHandle:
    """Show what enters a layer, and the gradient by what leaves it, at each backward pass."""

    def after(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return _Watched.apply(output, inputs[0], seen) if output.requires_grad else None

    return layer.register_forward_hook(after)


class Sequences:
    """How many sequences a model reads at once: OPT's FFN sees the tokens of all of them in one row."""

    def __init__(self, model: nn.Module) -> None:
        """`model` is a bare `...ForCausalLM`."""
        assert isinstance(model, PreTrainedModel)
        self._count = 0
        self.hook = model.get_input_embeddings().register_forward_pre_hook(self._read)

    def _read(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._count = len(inputs[0])

    def apart(self, tokens: Tensor) -> Tensor:
        """(B, T, C) of what is that already, or all in one row."""
        return tokens if tokens.dim() == 3 else tokens.unflatten(0, (self._count, -1))
