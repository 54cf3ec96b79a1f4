"""What trains the adapters: AdamW, with a larger learning rate for the factor that starts at zero."""

from torch import nn
from torch.optim import AdamW

from jobs.specs import TrainSpec


def adamw(model: nn.Module, spec: TrainSpec) -> AdamW:
    """Over all that learns in `model`, the B factors at `spec.b_factor_rate` times the learning rate.

    B starts at zero and A is large from the start, so that at one rate for both, what is learned moves too slowly; the
    wider the model, the more so. Source: LoRA+, Hayou et al. 2024, arXiv:2402.12354.
    """
    b_factors = [parameter for name, parameter in model.named_parameters() if _learns(parameter) and ".lora_B." in name]
    others = [
        parameter for name, parameter in model.named_parameters() if _learns(parameter) and ".lora_B." not in name
    ]
    groups = [
        {"params": others, "lr": spec.learning_rate},
        {"params": b_factors, "lr": spec.learning_rate * spec.b_factor_rate},
    ]
    return AdamW(groups, weight_decay=spec.weight_decay, fused=True)


def _learns(parameter: nn.Parameter) -> bool:
    return parameter.requires_grad
