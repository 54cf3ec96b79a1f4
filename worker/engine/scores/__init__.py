"""One file per criterion; this `match` is complete by the type checker's word."""

from typing import assert_never

from torch import nn

from jobs.criteria import ScoreSpec
from jobs.shapes import ModelShape
from worker.engine.architectures import Family
from worker.engine.scores.activation import Activation
from worker.engine.scores.chance import Chance
from worker.engine.scores.fluctuation import Fluctuation
from worker.engine.scores.lora_fisher import LoraFisher
from worker.engine.scores.lora_gradient import LoraGradient
from worker.engine.scores.magnitude import Magnitude
from worker.engine.scores.mask_gradient import MaskGradient, Order
from worker.engine.scores.scorer import Scorer
from worker.engine.scores.taylor import Taylor

MASK_ORDERS: dict[str, Order] = {"token_fisher": "token", "mask_fisher": "fisher", "mask_gradient": "first"}


def start(model: nn.Module, family: Family, shape: ModelShape, spec: ScoreSpec, *, seed: int) -> Scorer:
    """Begin to score a bare `...ForCausalLM` with adapters; `shape` is the untouched model's."""
    match spec.criterion:
        case "token_fisher" | "mask_fisher" | "mask_gradient":
            return MaskGradient(model, family, shape, order=MASK_ORDERS[spec.criterion])
        case "lora_fisher":
            return LoraFisher(model, family, shape)
        case "lora_gradient":
            return LoraGradient(model, family, shape, norm=spec.norm)
        case "taylor":
            return Taylor(model, family, shape, norm=spec.norm)
        case "activation":
            return Activation(model, family, shape)
        case "fluctuation":
            return Fluctuation(model, family, shape)
        case "magnitude":
            return Magnitude(model, family, shape, norm=spec.norm)
        case "random":
            return Chance(model, shape, seed=seed)
        case _:
            assert_never(spec.criterion)
