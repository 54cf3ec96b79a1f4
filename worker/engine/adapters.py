"""LoRA on every linear layer of every block, and norms that learn, through peft: attached, scored by, merged."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel, set_seed
from transformers.pytorch_utils import Conv1D

from jobs import errors
from jobs.specs import LoraSpec
from worker.engine import quantised
from worker.engine.architectures import Family, Member
from worker.engine.frozen import Frozen, Plain
from worker.engine.precision import at_least_float32

ADAPTER = "default"
_LEARNING = f".modules_to_save.{ADAPTER}."


@dataclass(frozen=True)
class Factors:
    """The two factors of an adapter, or their gradients. O outputs, I inputs, R rank."""

    a_RI: Tensor
    b_OR: Tensor


@dataclass(frozen=True)
class Adapted:
    """A frozen weight with its factors, to be read in parts; `frozen` gives some rows of W as it is stored."""

    frozen: Callable[[slice], Tensor]
    factors: Factors
    scale: float

    @property
    def size(self) -> tuple[int, int]:
        """Outputs and inputs."""
        return self.factors.b_OR.shape[0], self.factors.a_RI.shape[1]

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.factors.a_RI.device

    def rows(self, part: slice) -> Tensor:
        """(rows, I) float32: some rows of the weight that the layer acts with, W + scale · B A."""
        a_RI, b_oR = self.factors.a_RI.float(), self.factors.b_OR[part].float()
        return torch.addmm(self.frozen(part).float(), b_oR, a_RI, alpha=self.scale)


def attach(model: PreTrainedModel, family: Family, spec: LoraSpec, *, seed: int) -> PeftModel:
    """Freeze the model and give each linear layer its factors, in place; A is random, B zero: nothing changes yet.

    With `spec.norms` copies of the norms, in float32, stand in for them and learn.
    """
    set_seed(seed)
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]  # peft takes floats too
        lora_dropout=spec.dropout,
        target_modules=list(family.linear),
        modules_to_save=norms(model) if spec.norms else None,
        fan_in_fan_out=family.transposed,
        bias="none",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    for module in adapted.modules():
        if isinstance(module, ModulesToSaveWrapper) and module.original_module.weight.dtype != torch.float32:
            _compute_precisely(module)
    return adapted


def detach(adapted: PeftModel) -> PreTrainedModel:
    """The bare model as it was before `attach`; what was learned is lost."""
    adapted.delete_adapter(ADAPTER)  # else peft leaves the learned norms in the place of the model's own
    bare: PreTrainedModel = adapted.unload()
    return bare


def norms(model: nn.Module) -> list[str]:
    """The paths of all norms: what holds a vector of gains, where linear layers and embeddings hold matrices."""
    return [
        path
        for path, module in model.named_modules()
        if isinstance(gains := getattr(module, "weight", None), nn.Parameter) and gains.dim() == 1
    ]


def _compute_precisely(norm: ModulesToSaveWrapper) -> None:
    """Have the copy hold float32, where small steps are not rounded away, and answer in the dtype it was asked in."""
    learning = norm.modules_to_save[ADAPTER].float()

    def enter(_: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        (hidden,) = given
        return (hidden.to(at_least_float32(hidden)),)

    def leave(_: nn.Module, given: tuple[Tensor], answer: Tensor) -> Tensor:
        return answer.to(given[0].dtype)

    learning.register_forward_pre_hook(enter)
    norm.register_forward_hook(leave)


def read(block: nn.Module, member: Member) -> Adapted:
    """The weight and factors of one member; they follow the training, so they are to be used at once."""
    frozen, a, b, scale = _modules(block, member.path)
    return Adapted(frozen.reader(), Factors(a.weight.detach(), b.weight.detach()), scale)


def factors(block: nn.Module, path: str) -> Factors:
    """The factors of one adapted layer: as they are, not copies."""
    _, a, b, _ = _modules(block, path)
    return Factors(a.weight, b.weight)


def gradients(block: nn.Module, member: Member) -> Factors:
    """The gradients of a member's factors; to be called between backward and the step.

    Raises:
        LossNotFinite: a gradient is missing.
    """
    _, a, b, _ = _modules(block, member.path)
    if a.weight.grad is None or b.weight.grad is None:
        raise errors.LossNotFinite(
            f"{member.path} got no gradient.",
            hint="Every adapter is part of the loss: this is a fault of the engine, please report it.",
        )
    return Factors(a.weight.grad, b.weight.grad)


def whole(block: nn.Module, member: Member) -> AbstractContextManager[None]:
    """While the context is open the frozen layer may be changed, and at no other time: a sharded one is not there, and
    one that is cast once would go on with the old cast."""
    return _modules(block, member.path)[0].whole()


def parameters(block: nn.Module, member: Member) -> Iterator[tuple[Tensor, int]]:
    """What of an adapted layer, which is `whole`, its units own a part of, with the axis on which the units lie."""
    frozen, a, b, _ = _modules(block, member.path)
    yield from frozen.units(member.axis)
    yield (b.weight, 0) if member.axis == 0 else (a.weight, 1)


def resized(block: nn.Module, member: Member) -> None:
    """Make the layer's own notes of its sizes agree with its weights; it is `whole`."""
    frozen, a, b, _ = _modules(block, member.path)
    for linear in (a, b):
        linear.out_features, linear.in_features = linear.weight.shape
    outputs, inputs = b.out_features, a.in_features
    frozen.resize(outputs, inputs)
    layer = block.get_submodule(member.path)
    layer.out_features, layer.in_features = outputs, inputs  # type: ignore[assignment]  # peft's notes


def effective(block: nn.Module, member: Member) -> Tensor:
    """(out, in) float32: the weight that the layer acts with, W + s·BA."""
    return _effective(block, member.path)


def stored(block: nn.Module, member: Member) -> dict[str, Tensor]:
    """The tensors of the frozen layer itself, which is `whole`, by name: as they are, not copies."""
    return _adapted(block, member.path).get_base_layer().state_dict(keep_vars=True)


@torch.no_grad()
def add_to_frozen(block: nn.Module, member: Member, change: Tensor) -> None:
    """Add (out, in) to the frozen weight; a quantised one is rounded anew."""
    _modules(block, member.path)[0].add(change)


def merged_state(model: PreTrainedModel, family: Family) -> dict[str, Tensor]:
    """The state dict of the bare model, on the CPU, with its factors merged in float32 (W + s·BA) and its norms as they
    have become.

    Tensors that did not learn keep their dtype; where they lie on the CPU already they are not copied.
    """
    state = {
        name.replace(".base_layer.", ".").replace(_LEARNING, "."): tensor.cpu()
        for name, tensor in model.state_dict().items()
        if ".lora_" not in name and ".original_module." not in name and not name.endswith(quantised.STORED)
    }
    for index, block in enumerate(family.layers(model)):
        for path in family.linear:
            merged = _effective(block, path).cpu()
            state[f"{family.blocks}.{index}.{path}.weight"] = merged.T.contiguous() if family.transposed else merged
    return state


def _effective(block: nn.Module, path: str) -> Tensor:
    frozen, a, b, scale = _modules(block, path)
    return torch.addmm(frozen.present().float(), b.weight.float(), a.weight.float(), alpha=scale).detach()


def _modules(block: nn.Module, path: str) -> tuple[Frozen, nn.Linear, nn.Linear, float]:
    """Frozen layer, A, B and scale of an adapted layer."""
    layer = _adapted(block, path)
    base, a, b = layer.get_base_layer(), layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
    assert isinstance(base, nn.Linear | Conv1D)
    assert isinstance(a, nn.Linear)
    assert isinstance(b, nn.Linear)
    return base if isinstance(base, Frozen) else Plain(base), a, b, layer.scaling[ADAPTER]


def _adapted(block: nn.Module, path: str) -> LoraLinear:
    layer = block.get_submodule(path)
    assert isinstance(layer, LoraLinear), f"{path} carries no adapter"
    return layer
