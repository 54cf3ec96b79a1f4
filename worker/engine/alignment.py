"""Turning the A factors towards the gradient before anything is learned.

While B is zero, all that an adapter learns of the gradient G of its weight is G Aᵀ: what lies outside of the few
directions that A reads is lost to it. Gradients lie close to few directions, which a random A misses, and which a short
pass over some text finds.

Legend: O output channels, I input channels, R rank, C either.
"""

import math

import torch
from torch import Tensor
from transformers import PreTrainedModel

from jobs import errors
from jobs.specs import LoraPruneSpec, TrainSpec
from worker.engine import adapters, ranks, training
from worker.engine.architectures import Family
from worker.engine.saving import Saving
from worker.engine.windows import Windows

TOKENS = 2048
"""Of text in each of the two passes."""

SMALL = 1e-4
"""Length of B's columns while A's gradient is asked for: by so little the model is hardly another one."""

LOUDNESS = 2.0
"""How loud inputs that lie within A's directions leave it, beside what peft's random A makes of any inputs."""


def begin(model: PreTrainedModel, family: Family, windows: Windows, spec: LoraPruneSpec, saving: Saving | None) -> None:
    """Align new adapters if the spec asks for it; a run that goes on has its factors in its checkpoint."""
    if spec.lora.start == "gradient" and (saving is None or saving.resume_from is None):
        align(model, family, windows, spec.train)


def align(model: PreTrainedModel, family: Family, windows: Windows, spec: TrainSpec) -> None:
    """Have each A read the directions of its inputs in which the loss changes most; no gradients are left.

    Two half steps of the power method, by what the factors themselves are told: ∇B = G Aᵀ, with A as it is, spans the
    outputs that G reaches best, and with these as B, ∇A = BᵀG spans the inputs. Then B is zero again, and the model
    answers as before.

    Args:
        model: a bare `...ForCausalLM` with adapters that have learned nothing yet.
        windows: two runs of them are read, of `TOKENS` each.
    Raises:
        LossNotFinite: a gradient is NaN or infinite.
    Source: LoRA-GA, Wang et al. 2024, arXiv:2407.05000, of which only the choice of A is taken; the power method on
        samples: Halko et al. 2011, arXiv:0909.4061.
    """
    every = [adapters.factors(block, path) for block in family.layers(model) for path in family.linear]
    count = max(1, TOKENS // windows.ids_NT.shape[1])
    some = windows.first(2 * count)
    _read(model, some.first(count), spec)
    for factors in every:
        _set_columns(factors.b_OR, SMALL * directions(_gradient(factors.b_OR)))
    _read(model, some.last(count), spec)
    for factors in every:
        gradient_IR = _gradient(factors.a_RI).T
        length = LOUDNESS * math.sqrt(len(factors.a_RI) / (3 * len(gradient_IR)))
        _set_columns(factors.a_RI.T, length * directions(gradient_IR))
        factors.b_OR.detach().zero_()
    model.zero_grad()
    ranks.as_first([factors.a_RI.detach() for factors in every])


def directions(gradient_CR: Tensor) -> Tensor:
    """(C, at most R): orthonormal columns that span those of a gradient; none if it is zero.

    Raises:
        LossNotFinite: an entry is NaN or infinite.
    """
    if not bool(gradient_CR.isfinite().all()):
        raise errors.LossNotFinite(
            "A gradient is NaN or infinite before the first step.",
            hint="Train in float32; if that does not help, the base model's weights are not sound.",
        )
    if not bool(gradient_CR.any()):
        return gradient_CR[:, :0]
    return torch.linalg.qr(gradient_CR.float()).Q


@torch.no_grad()
def _set_columns(factor_CR: Tensor, columns: Tensor) -> None:
    """The others stay: a matrix with fewer than R channels has no more directions."""
    factor_CR[:, : columns.shape[1]] = columns


def _gradient(factor: Tensor) -> Tensor:
    assert factor.grad is not None
    return factor.grad


def _read(model: PreTrainedModel, windows: Windows, spec: TrainSpec) -> None:
    """Leave the gradients of the mean loss over some windows."""
    model.zero_grad()
    was_training = model.training
    model.train()
    training.add_gradients(model, windows.ids_NT, windows.labels_NT, spec)
    model.train(was_training)
