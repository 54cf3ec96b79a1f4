"""What an adapter stands on: a frozen linear layer, however its weight is stored.

Legend: O output channels, I input channels; o, some of O.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

Axis = Literal[0, 1]
"""Of a weight (O, I)."""


class Frozen(Protocol):
    """Read by anyone; cut through `units` while it is `whole`; changed by `add` alone."""

    @abstractmethod
    def present(self) -> Tensor:
        """(O, I): the weight that the layer acts with; not to be changed."""

    @abstractmethod
    def reader(self) -> Callable[[slice], Tensor]:
        """What gives some rows of it, (o, I); to be used at once."""

    @abstractmethod
    def whole(self) -> AbstractContextManager[None]:
        """While the context is open all that is stored of the layer is there, and may be changed, also in its size."""

    @abstractmethod
    def units(self, axis: Axis) -> Iterator[tuple[Tensor, int]]:
        """The tensors that units of the weight's `axis` own a part of, with the axis on which the units lie there."""

    @abstractmethod
    def add(self, change_OI: Tensor) -> None:
        """Change the weight, in all processes."""

    @abstractmethod
    def resize(self, outputs: int, inputs: int) -> None:
        """Make the layer's own notes of its sizes agree with what is stored."""


@dataclass(frozen=True)
class Plain:
    """A layer that stores its weight as it is, or transposed, as GPT-2's do."""

    layer: nn.Linear | Conv1D

    def present(self) -> Tensor:
        """The layer's own."""
        weight = self.layer.weight.detach()
        return weight.T if isinstance(self.layer, Conv1D) else weight

    def reader(self) -> Callable[[slice], Tensor]:
        return self.present().__getitem__

    def whole(self) -> AbstractContextManager[None]:
        return nullcontext()

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
