"""LoRA on every linear layer of every block, through peft: attached, read out for scoring, merged."""

from collections.abc import Iterator

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from transformers import PreTrainedModel, set_seed

from jobs import errors
from jobs.specs import LoraSpec
from worker.engine.architectures import Family, Member
from worker.engine.scores import Adapted

ADAPTER = "default"


def attach(model: PreTrainedModel, family: Family, spec: LoraSpec, *, seed: int) -> PeftModel:
    """Freeze the model and give each member its factors, in place; A is random, B zero, so nothing changes yet."""
    set_seed(seed)
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]  # peft takes floats too
        lora_dropout=spec.dropout,
        target_modules=[member.name for member in family.members],
        bias="none",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    return adapted


def read(block: nn.Module, family: Family) -> Iterator[tuple[Member, Adapted]]:
    """Weights, factors and gradients of one block's members; to be called between backward and the step.

    Raises:
        LossNotFinite: a gradient is missing, NaN or infinite.
    """
    for member in family.members:
        weight, a, b, scale = _factors(block, member)
        if a.grad is None or b.grad is None:
            raise errors.LossNotFinite(f"{member.path} got no gradient.")
        yield member, Adapted(weight.detach(), a.detach(), b.detach(), a.grad, b.grad, scale)


def merged_state(model: PreTrainedModel, family: Family) -> dict[str, Tensor]:
    """The state dict of the bare model with its factors merged in float32: W + s·BA.

    Tensors without factors keep their dtype and are not copied.
    """
    state = {
        name.replace(".base_layer.", "."): tensor for name, tensor in model.state_dict().items() if ".lora_" not in name
    }
    with torch.no_grad():
        for index, block in enumerate(family.layers(model)):
            for member in family.members:
                weight, a, b, scale = _factors(block, member)
                merged = torch.addmm(weight.float(), b.float(), a.float(), alpha=scale)
                state[f"{family.blocks}.{index}.{member.path}.weight"] = merged
    return state


def _factors(block: nn.Module, member: Member) -> tuple[Tensor, Tensor, Tensor, float]:
    """Frozen weight, A, B and scale of an adapted layer."""
    layer = block.get_submodule(member.path)
    assert isinstance(layer, LoraLinear), f"{member.path} carries no adapter"
    a, b = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
    frozen = layer.get_base_layer()
    assert isinstance(a, nn.Linear)
    assert isinstance(b, nn.Linear)
    assert isinstance(frozen, nn.Linear)
    return frozen.weight, a.weight, b.weight, layer.scaling[ADAPTER]
