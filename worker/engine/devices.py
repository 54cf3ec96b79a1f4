"""Where this process computes."""

import torch


def own() -> torch.device:
    """The accelerator if there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
