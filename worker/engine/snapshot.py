"""The blocks of a model in training as they were at one moment, to go back to."""

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from worker.engine import adapters
from worker.engine.architectures import Family
from worker.engine.surgery import HEAD_COUNTS


class Snapshot:
    """Copies on the CPU of all parameters of the blocks, of their gradients and of the optimizer's moments."""

    def __init__(self, model: nn.Module, family: Family, optimizer: Optimizer) -> None:
        """`model`: the bare `...ForCausalLM` with adapters; until `restore` it must keep its blocks and parameters."""
        self._blocks = list(family.layers(model))
        self._family = family
        self._optimizer = optimizer
        self._attentions = [
            (attention, {name: vars(attention)[name] for name in HEAD_COUNTS})
            for block in self._blocks
            for attention in ([block.get_submodule("self_attn")] if family.counts_heads else [])
        ]
        self._held = [
            (parameter, _copy(parameter.data), _copy(parameter.grad), _moments(optimizer, parameter))
            for block in self._blocks
            for parameter in block.parameters()
        ]

    def restore(self) -> None:
        """Bring everything back as it was, widths included."""
        for parameter, data, gradient, moments in self._held:
            device = parameter.device
            parameter.grad = None  # a gradient must have its parameter's shape at every moment
            parameter.data = data.to(device)
            parameter.grad = None if gradient is None else gradient.to(device)
            for name, value in moments.items():
                now = self._optimizer.state[parameter][name]
                self._optimizer.state[parameter][name] = value.to(now.device) if isinstance(value, Tensor) else value
        for block in self._blocks:
            for member in self._family.members:
                adapters.resized(block, member)
        for attention, counts in self._attentions:
            vars(attention).update(counts)


def _copy(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().to("cpu", copy=True)


def _moments(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Any]:
    state = optimizer.state.get(parameter, {})
    return {name: _copy(value) if isinstance(value, Tensor) else value for name, value in state.items()}
