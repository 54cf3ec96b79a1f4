"""Frozen layers whose weight exists in full only while a product needs it, and is stored in some other way.

Legend: O output channels, I input channels.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.engine.frozen import Frozen


class FleetingLinear(nn.Linear, Frozen):
    """As nn.Linear, but that only the input gets a gradient."""

    def __init__(self, weight_OI: Tensor, bias: nn.Parameter | None) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = weight_OI.shape
        self.bias = bias  # type: ignore[assignment]  # as nn.Linear itself allows

    @abstractmethod
    def full(self, dtype: torch.dtype) -> Tensor:
        """(O, I): the weight, made from what is stored."""

    def resize(self, outputs: int, inputs: int) -> None:
        self.out_features, self.in_features = outputs, inputs

    def forward(self, inputs: Tensor) -> Tensor:
        """x Wᵀ + b, in the dtype of the inputs, or of autocast."""
        kind = inputs.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
        with torch.autocast(kind, enabled=False):
            outputs: Tensor = _Product.apply(inputs.to(dtype), self)
            return outputs if self.bias is None else outputs + self.bias.to(dtype)


class _Product(torch.autograd.Function):
    """x Wᵀ, which makes W again on the way back instead of keeping it."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: FleetingLinear) -> Tensor:
        ctx.layer = layer
        return functional.linear(inputs, layer.full(inputs.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.full(gradient.dtype), None
