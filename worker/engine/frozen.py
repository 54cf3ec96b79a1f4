"""What an adapter stands on: a frozen linear layer, however its weight is stored.

Legend: O output channels, I input channels; o, some of O.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

Axis = Literal[0, 1]
"""Of a weight (O, I)."""


class Frozen(ABC):
    """Read by anyone; cut through `units` while it is `whole`; changed by `add`."""

    @abstractmethod
    def present(self) -> Tensor:
        """(O, I): the weight that the layer acts with; not to be changed."""

    @abstractmethod
    def units(self, axis: Axis) -> Iterator[tuple[Tensor, int]]:
        """The tensors that units on the weight's `axis` own a part of, with the axis on which the units lie there."""

    @abstractmethod
    def add(self, change_OI: Tensor) -> None:
        """Change the weight, in all processes."""

    @abstractmethod
    def resize(self, outputs: int, inputs: int) -> None:
        """Make the layer's own notes of its sizes agree with what is stored."""

    def reader(self) -> Callable[[slice], Tensor]:
        """What gives some rows of the weight, (o, I); to be used at once."""
        return self.present().__getitem__

    def whole(self) -> AbstractContextManager[None]:
        """While the context is open all that is stored of the layer is there, and may be changed, also in its size."""
        return nullcontext()


@dataclass(frozen=True)
class Plain(Frozen):
    """A layer that stores its weight as it is, or transposed, as GPT-2's do."""

    layer: nn.Linear | Conv1D

    def present(self) -> Tensor:
        """The layer's own."""
        weight = self.layer.weight.detach()
        return weight.T if isinstance(self.layer, Conv1D) else weight

    def units(self, axis: Axis) -> Iterator[tuple[Tensor, int]]:
        yield self.layer.weight, 1 - axis if isinstance(self.layer, Conv1D) else axis
        if axis == 0 and self.layer.bias is not None:
            yield self.layer.bias, 0

    def add(self, change_OI: Tensor) -> None:
        weight_OI = self.present()
        weight_OI += change_OI.to(weight_OI.dtype)

    def resize(self, outputs: int, inputs: int) -> None:
        if isinstance(self.layer, Conv1D):
            self.layer.nf, self.layer.nx = outputs, inputs
        else:
            self.layer.out_features, self.layer.in_features = outputs, inputs


class FrozenLinear(nn.Linear, Frozen):
    """As nn.Linear, but that only the input gets a gradient, and that each product asks for the weight anew."""

    def __init__(self, weight_OI: Tensor, bias: nn.Parameter | None) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = weight_OI.shape
        self.bias = bias  # type: ignore[assignment]  # as nn.Linear itself allows

    @abstractmethod
    def full(self, dtype: torch.dtype) -> Tensor:
        """(O, I): the weight, made from what is stored."""

    def present(self) -> Tensor:
        return self.weight.detach()

    def units(self, axis: Axis) -> Iterator[tuple[Tensor, int]]:
        yield self.weight, axis
        if axis == 0 and self.bias is not None:
            yield self.bias, 0

    def add(self, change_OI: Tensor) -> None:
        with self.whole():
            self.weight.data += change_OI.to(self.weight.dtype)

    def resize(self, outputs: int, inputs: int) -> None:
        self.out_features, self.in_features = outputs, inputs

    def forward(self, inputs: Tensor) -> Tensor:
        """x Wᵀ + b, in the dtype of the inputs, or of autocast."""
        kind = inputs.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
        with torch.autocast(kind, enabled=False):
            outputs: Tensor = _Product.apply(inputs.to(dtype), self)
            return outputs


class _Product(torch.autograd.Function):
    """x Wᵀ + b, which asks for W again on the way back instead of keeping it."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: FrozenLinear) -> Tensor:
        ctx.layer = layer
        bias = None if layer.bias is None else layer.bias.to(inputs.dtype)
        return functional.linear(inputs, layer.full(inputs.dtype), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.full(gradient.dtype), None
