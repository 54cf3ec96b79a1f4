"""Parameters counted in checkpoint files, by nothing but the shapes written there."""

import math
from pathlib import Path

from gguf import GGUFReader
from safetensors import safe_open


def block_parameters(model: Path) -> int:
    """Parameters of all transformer blocks: of a folder with safetensors, or of a GGUF file."""
    if model.is_file():
        return sum(int(tensor.n_elements) for tensor in GGUFReader(model).tensors if tensor.name.startswith("blk."))
    return sum(map(_in_blocks, model.glob("*.safetensors")))


def _in_blocks(file: Path) -> int:
    with safe_open(file, framework="numpy") as tensors:
        names = [name for name in tensors.keys() if ".layers." in name and "norm" not in name]  # noqa: SIM118
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
