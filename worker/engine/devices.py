"""Where this process computes."""

import torch

SPARE = 0.25
"""Memory for logits and caches beside weights, as a part of those."""


def own() -> torch.device:
    """The accelerator if there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def holds(weights: int) -> bool:
    """Whether a model with so many bytes of weights can work on the device, with what else is there now."""
    if own().type == "cpu":  # where it must lie in any case
        return True
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    return (1 + SPARE) * weights <= free
