"""How the loss would answer if a unit were turned down, read from the LoRA factors and their gradients.

Turning down what a unit hands on is turning down its values, or the columns that read them: ∂ℓ/∂m_u = Σ G ∘ W over the
unit's entries in either of these matrices, all signs kept. `mask_gradient` finds it exactly; here G is what the
gradients of the factors tell of it.

Legend: U units.
"""

from torch import Tensor, nn

from jobs.shapes import ModelShape
from worker.engine.architectures import Family, Kind
from worker.engine.scores.lora_gradient import LoraGradient

WEIGHING = {Kind.KV_GROUP: 2, Kind.FFN_CHANNEL: 0}
"""So many of a kind's matrices, its first ones, weigh only what units hand on: queries and keys."""


class LoraFisher(LoraGradient):
    """(∂ℓ/∂m_u)² as each of a unit's matrices estimates it, combined as `LoraGradient` combines what they say.

    A gate's rows are among them: how the loss answers to them is close to it where the activation is close to linear.

    Source: the estimate of G from LoRAPrune, arXiv:2305.18403, eq. 8-10; the rest as `mask_gradient`.
    """

    def __init__(self, model: nn.Module, family: Family, shape: ModelShape) -> None:
        super().__init__(model, family, shape, norm="sum")

    def _members(self, block: nn.Module, kind: Kind) -> list[Tensor]:
        return [slope_U.square() for slope_U in super()._members(block, kind)[WEIGHING[kind] :]]
