"""Exact unit-level gradients: how the loss of each sequence would answer if a unit were turned down.

A mask of ones is multiplied onto the inputs of o_proj and down_proj, one per sequence and unit; its gradient is the
first-order effect of the unit as a whole. No weight gradient is needed; the cost is one more copy of each gate's input,
kept until the backward pass.

Legend: B sequences, T tokens, U units, C channels per unit, L layers.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from jobs.shapes import ModelShape
from worker.engine.architectures import Family, Kind
from worker.engine.plan import Scores


class MaskGradients:
    """Collects Σ_b (∂ℓ_b/∂m_u)², the empirical Fisher information of each unit's mask, while the model trains.

    Source: Kwon et al. 2022, arXiv:2204.00656, eq. 5, with sequences as samples.
    """

    def __init__(self, model: nn.Module, family: Family, shape: ModelShape) -> None:
        """Hooks the gates of a bare `...ForCausalLM`; `close` frees them."""
        self._sums: dict[tuple[Kind, int], Tensor] = {}
        self._hooks: list[Any] = []
        for index, block in enumerate(family.layers(model)):
            for kind in Kind:
                gate = family.gate(kind)
                watch = partial(self._mask, (kind, index), gate.channels(shape))
                self._hooks.append(block.get_submodule(gate.path).register_forward_pre_hook(watch))

    def take(self) -> Scores:
        """What was collected since the last call, each layer of length one.

        The loss's scale drops out with the length, so steps can be averaged.
        """
        found = {kind: [self._sums[kind, index] for index in self._layers(kind)] for kind in Kind}
        self._sums.clear()
        return {
            kind: [score_U / score_U.norm().clamp_min(1e-30) for score_U in layers] for kind, layers in found.items()
        }

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()

    def _layers(self, kind: Kind) -> Iterator[int]:
        return iter(sorted(index for found, index in self._sums if found is kind))

    def _mask(self, place: tuple[Kind, int], run: int, gate: nn.Module, inputs: tuple[Any, ...]) -> Any:
        hidden_BTI: Tensor = inputs[0]
        if not hidden_BTI.requires_grad:  # an evaluation, or a cut
            return None
        mask_BU = torch.ones(
            len(hidden_BTI), hidden_BTI.shape[-1] // run, device=hidden_BTI.device, dtype=hidden_BTI.dtype
        )
        mask_BU.requires_grad_()
        mask_BU.register_hook(partial(self._add, place))
        hidden_BTUC = hidden_BTI.unflatten(-1, (-1, run)) * mask_BU[:, None, :, None]
        return (hidden_BTUC.flatten(-2), *inputs[1:])

    def _add(self, place: tuple[Kind, int], gradient_BU: Tensor) -> None:
        squares_U = gradient_BU.float().square().sum(dim=0)
        self._sums[place] = self._sums[place] + squares_U if place in self._sums else squares_U
