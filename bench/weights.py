"""Parameters counted in checkpoint files, by nothing but the names and shapes written there."""

import math
from pathlib import Path

from safetensors import safe_open


def linear_parameters(model: Path) -> int:
    """Parameters of the linear layers in all blocks, of which a ratio is a ratio; `model` has safetensors in it."""
    return sum(map(_in_file, model.glob("*.safetensors")))


def _in_file(file: Path) -> int:
    with safe_open(file, framework="numpy") as tensors:
        names = [name for name in tensors.keys() if ".layers." in name and "norm" not in name]  # noqa: SIM118
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
