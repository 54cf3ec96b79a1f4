"""What the header of a GGUF file says against reading it as a base model: the door and the engine must agree."""

from collections.abc import Collection

from jobs import errors

FAMILIES = ("llama", "mistral")
"""Architectures whose conversion to a stock folder is exact."""


def check(architecture: object, scaling: object, tensor_names: Collection[str]) -> None:
    """Refuse what the conversion would change.

    Args:
        scaling: the value of `<architecture>.rope.scaling.type`, None without one.
    Raises:
        UnsupportedArchitecture
    """
    if architecture not in FAMILIES:
        raise errors.UnsupportedArchitecture(
            f"The GGUF file holds a {architecture!r} model.",
            hint=f"From GGUF: {', '.join(FAMILIES)}. Name the repository or folder with the safetensors weights.",
        )
    # The conversion drops the scaling of rotary frequencies in silence, and another model would be pruned.
    if scaling not in (None, "none") or "rope_freqs.weight" in tensor_names:
        raise errors.UnsupportedArchitecture(
            "The GGUF file scales its rotary frequencies, which cannot be read from it.",
            hint="Name the repository or folder with the original safetensors weights.",
        )
