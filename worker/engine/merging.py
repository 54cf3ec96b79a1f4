"""A model in training on its way to a file: its factors merged, and how it answered before they were."""

from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from worker.engine import adapters, verification
from worker.engine.architectures import Family


@dataclass(frozen=True)
class Merged:
    """`state` is the bare model's, on the CPU, float32 where it was trained; `logits_BTV` are `exact_answers`."""

    state: dict[str, Tensor]
    logits_BTV: Tensor


def merge(model: PreTrainedModel, family: Family, probe_BT: Tensor) -> Merged:
    """Have the trained model, which stays as it is, answer `probe_BT`, and merge its factors into a copy."""
    logits_BTV = verification.exact_answers(model, probe_BT)  # which needs room that the copy would take
    return Merged(adapters.merged_state(model, family), logits_BTV)
