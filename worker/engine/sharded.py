"""Frozen weights that the processes of a training run hold together, so that a model need not fit on one device.

Each process stores an equal part of a layer's weight; the whole is gathered from all of them for each product and let
go after it, on the way back anew. (FSDP does so with whole blocks, and ahead of time, but cannot follow a cut: what it
shards has the size for good that it had at first.) Adapters, biases, norms and what lies outside of the blocks are
whole in each process.

To gather is an exchange: all processes must use the same layers in the same order.

Source: ZeRO, stage 3, Rajbhandari et al. 2020, arXiv:1910.02054.

Legend: O output channels, I input channels.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.engine import ranks
from worker.engine.architectures import Family
from worker.engine.frozen import FrozenLinear


class ShardedLinear(FrozenLinear):
    """A frozen linear layer that stores this process's part of its weight.

    `weight` is there only while the layer is `whole`; else it is empty, and tells dtype and device.
    """

    def __init__(self, weight_OI: Tensor, bias: nn.Parameter | None) -> None:
        super().__init__(weight_OI, bias)
        self.weight = nn.Parameter(_nothing(weight_OI), requires_grad=False)
        self.part: Tensor
        self.register_buffer("part", None, persistent=False)  # of no meaning without the others
        self._store(weight_OI)

    def full(self, dtype: torch.dtype) -> Tensor:
        """Gathered."""
        return self.present().to(dtype)

    def present(self) -> Tensor:
        """Gathered, in the dtype in which it is stored."""
        if self.weight.numel():
            return self.weight.detach()
        return ranks.gathered(self.part)[: self._size.numel()].view(self._size)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """While the context is open `weight` is there, in all processes; afterwards each keeps its part of it."""
        self.weight.data = self.present()
        try:
            yield
        finally:
            self._store(self.weight.data)
            self.weight.data = _nothing(self.weight.data)

    def _store(self, weight_OI: Tensor) -> None:
        """Keep this process's part: its share of the entries in their order, the last ones filled up with zeros."""
        self._size = weight_OI.shape
        flat = weight_OI.flatten()
        length = -(-len(flat) // ranks.count())
        own = flat[ranks.own() * length :][:length]
        self.part = functional.pad(own, (0, length - len(own))).clone()


def _nothing(like_OI: Tensor) -> Tensor:
    return like_OI.new_empty(0, 0)


def shard(model: nn.Module, family: Family, device: torch.device) -> None:
    """Share out the linear layers of all blocks, one by one, in place, and put the rest of the model on `device`."""
    for block in family.layers(model):
        for path in family.linear:
            linear = block.get_submodule(path)
            assert isinstance(linear, nn.Linear)
            block.set_submodule(path, ShardedLinear(linear.weight.detach().to(device), linear.bias))
    model.to(device=device)


def reunite(model: nn.Module) -> None:
    """Have the first process hold all of a model that was shared out, on the CPU; the others need theirs no more."""
    shared = [(path, layer) for path, layer in model.named_modules() if isinstance(layer, ShardedLinear)]
    for path, layer in shared:
        weight_OI = layer.present()
        if ranks.is_first():
            whole = nn.Linear(1, 1, bias=False, device="meta")
            whole.out_features, whole.in_features = weight_OI.shape
            whole.weight, whole.bias = nn.Parameter(weight_OI.cpu(), requires_grad=False), layer.bias
            model.set_submodule(path, whole)
    if shared and ranks.is_first():
        model.cpu()
