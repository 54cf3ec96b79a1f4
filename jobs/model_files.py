"""The files that a model's folder needs to have, and those that nobody may read."""

from collections.abc import Iterable
from fnmatch import fnmatch

from jobs import errors

PICKLE_PATTERNS = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def check(names: Iterable[str]) -> None:
    """A model folder needs config.json and safetensors weights.

    Raises:
        BaseModelIncomplete: one of them is missing.
        PickleWeights: there are weights, but as pickle only.
    """
    names = list(names)
    if "config.json" not in names:
        raise errors.BaseModelIncomplete(
            "There is no config.json.", hint="Name the folder that `save_pretrained` wrote, or a .gguf file."
        )
    if any(fnmatch(name, "model*.safetensors") for name in names):
        return
    pickles = sorted(filter(is_pickle, names))
    if pickles:
        raise errors.PickleWeights(
            f"The weights exist as pickle only ({pickles[0]}), and reading a pickle can run any code.",
            hint="Save the model again with safetensors: model.save_pretrained(folder).",
        )
    raise errors.BaseModelIncomplete("There are no weights (model*.safetensors) beside config.json.")


def is_pickle(name: str) -> bool:
    """Whether a file of this name holds pickled weights."""
    return any(fnmatch(name, pattern) for pattern in PICKLE_PATTERNS)
