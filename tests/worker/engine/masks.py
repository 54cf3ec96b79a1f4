"""Removing units without cutting: zeros on the inputs of o_proj and down_proj. The reference that cuts must equal."""

from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from jobs.shapes import ModelShape
from worker.engine.architectures import Family, Member, units
from worker.engine.plan import LayerPlan, Plan


class Masks:
    """Forward hooks on a bare `...ForCausalLM` that zero the channels of removed units while the context is open.

    A removed unit contributes nothing and its weights get no gradient, as if its rows and columns were gone.
    """

    def __init__(self, model: nn.Module, family: Family, shape: ModelShape) -> None:
        self._shape = shape
        self._gates: list[tuple[int, Member, nn.Module]] = [
            (index, family.gate(kind), block.get_submodule(family.gate(kind).path))
            for index, block in enumerate(family.layers(model))
            for kind in family.kinds
        ]
        self._masks: dict[nn.Module, Tensor] = {}
        self._hooks: list[Any] = []

    def apply(self, plan: Plan) -> None:
        """Mask what `plan` does not keep."""
        for index, member, module in self._gates:
            kept = plan.layers[index].kept(member.kind)
            if len(kept) < units(self._shape, member.kind):
                self._masks[module] = self._mask(plan.layers[index], member, module)

    def __enter__(self) -> Self:
        self._hooks = [module.register_forward_pre_hook(self._zero) for _, _, module in self._gates]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _mask(self, layer: LayerPlan, member: Member, module: nn.Module) -> Tensor:
        device = next(module.parameters()).device
        mask_U = torch.zeros(units(self._shape, member.kind), device=device)
        mask_U[list(layer.kept(member.kind))] = 1
        return mask_U.repeat_interleave(member.channels(self._shape))

    def _zero(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        mask = self._masks.get(module)
        if mask is None:
            return None
        hidden, *rest = inputs
        return (hidden * mask.to(hidden.dtype), *rest)
