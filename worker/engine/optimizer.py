"""What trains the adapters: AdamW, with a larger learning rate for the factor that starts at zero."""

from torch import nn
from torch.optim import AdamW

from jobs.specs import TrainSpec


def adamw(model: nn.Module, spec: TrainSpec) -> AdamW:
    """Over all that learns in `model`, the B factors at `spec.b_factor_rate` times the learning rate.

    B starts at zero and A is large from the start, so that at one rate for both, what is learned moves too slowly; the
    wider the model, the more so. Source: LoRA+, Hayou et al. 2024, arXiv:2402.12354. What norms learn is never decayed:
    zero is no gain to shrink to.
    """
    learning = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    norms = [parameter for _, parameter in learning if parameter.dim() == 1]
    a_factors, b_factors = (
        [parameter for name, parameter in learning if f".{factor}." in name] for factor in ("lora_A", "lora_B")
    )
    groups = [
        {"params": a_factors, "lr": spec.learning_rate},
        {"params": b_factors, "lr": spec.learning_rate * spec.b_factor_rate},
        {"params": norms, "lr": spec.learning_rate, "weight_decay": 0.0},
    ]
    return AdamW(groups, weight_decay=spec.weight_decay, fused=True)
