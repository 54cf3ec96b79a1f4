"""Taking units out of a model while it trains, and making what stays take over."""

import math

from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from jobs.shapes import ModelShape
from jobs.specs import LoraPruneSpec
from worker.engine import compensated_cut, plan, pruning_state, ranks, surgery, training, unused_memory
from worker.engine.architectures import Family
from worker.engine.influence import block_influence
from worker.engine.plan import Plan
from worker.engine.windows import Windows

INFLUENCE_WINDOWS = 64
"""Calibration windows to compare what enters and what leaves a block on: the mean over tokens settles early."""


class Cutter:
    """Works on one adapted model; `present` is what that physically has: more than the plan where the cut comes later.

    Every process of a training run has one and does the same.
    """

    def __init__(
        self, model: PreTrainedModel, family: Family, shape: ModelShape, spec: LoraPruneSpec, calibration: Windows
    ) -> None:
        self.present = Plan.dense(shape)
        self._model = model
        self._family = family
        self._shape = shape
        self._spec = spec
        self._ids_NT = calibration.ids_NT

    def influence(self) -> list[float]:
        """How much each block changes its input now, 0 to 2."""
        bfloat16 = training.uses_bfloat16(self._spec.train)
        return block_influence(self._model, self._family, self._ids_NT[:INFLUENCE_WINDOWS], bfloat16=bfloat16)

    def remove(self, before: Plan, after: Plan, optimizer: Optimizer | None) -> None:
        """Units of `before` that `after` has no longer stop counting; by the spec, they leave now or become zero."""
        for_real = self._spec.schedule.cut == "every_event"
        unused_memory.give_back()  # of the sizes of training, which a cut does not have
        case = self._model, self._family, self._shape, self.present, after, optimizer
        reconstruction = self._spec.reconstruction
        if reconstruction.enabled:
            compensated_cut.cut(
                *case,
                self._calibration(before),
                bfloat16=training.uses_bfloat16(self._spec.train),
                remove=surgery.cut_block if for_real else surgery.silence_block,
                aim=reconstruction.aim,
            )
            ranks.as_first(tensor for _, tensor in pruning_state.gate_weights(self._model, self._family))
        elif for_real:
            surgery.cut(*case)
        else:
            surgery.silence(*case)
        unused_memory.give_back()  # of sizes that are gone
        self.present = after if for_real else plan.only_layers(self.present, after)

    def cut(self, after: Plan, optimizer: Optimizer | None) -> None:
        """What was silenced leaves: the model then physically is `after`."""
        surgery.cut(self._model, self._family, self._shape, self.present, after, optimizer)
        self.present = after

    def _calibration(self, before: Plan) -> Tensor:
        """As many windows as a least-squares solve over so many channels needs."""
        head_columns = self._shape.group * self._shape.head_dim
        columns = max(max(layer.ffn, layer.kv_groups * head_columns) for layer in before.layout)
        tokens = columns * self._spec.reconstruction.tokens_per_channel
        return self._ids_NT[: math.ceil(tokens / self._ids_NT.shape[1])]
