"""Which paths of this machine a job may name."""

import os
from collections.abc import Sequence
from pathlib import Path


class NotAllowed(Exception):
    """The path is none that a job may name; the text says why."""


def allowed(name: str, roots: Sequence[Path]) -> Path:
    """The path with every link followed.

    Raises:
        NotAllowed: it does not lie within one of the roots.
    """
    if not os.path.isabs(name):
        raise NotAllowed(f"{name} is a relative path; give the whole path.")
    path = Path(os.path.realpath(name))
    if any(path.is_relative_to(os.path.realpath(root)) for root in roots):
        return path
    named = ", ".join(map(str, roots)) or "none"
    raise NotAllowed(f"{name} is not in a folder that jobs may read (PRUNERY_LOCAL_ROOTS: {named}).")
