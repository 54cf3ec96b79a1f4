"""What makes a job the same job: its spec, the weights it starts from and the text it learns, as a checkpoint notes."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from jobs import errors
from jobs.budgets import WeightBytes
from jobs.specs import JobSpec
from worker.engine.windows import Windows


@dataclass(frozen=True)
class Identity:
    """Plain data: `spec`, what of it bears on the result; `base_model` and `data`, SHA-256 of their content."""

    content: dict[str, Any]

    def check(self, noted: Mapping[str, Any]) -> None:
        """Raises CheckpointMismatch if `noted` is another job's."""
        changes = list(_changes(noted["spec"], self.content["spec"]))
        if noted["base_model"] != self.content["base_model"]:
            changes.append("the weights or the configuration of the base model")
        if noted["data"] != self.content["data"]:
            changes.append("the training or the held-out text")
        if changes:
            raise errors.CheckpointMismatch(
                f"The checkpoint is of another job. Since it was written there changed: {'; '.join(changes[:5])}.",
                hint="Go back to what the job was, or begin anew with another folder for checkpoints.",
            )


def of(spec: JobSpec, base: Path, texts: tuple[Windows, ...]) -> Identity:
    """Reads every byte of the base model.

    Args:
        base: its stock folder.
        texts: what is trained and measured on, tokenised.
    """
    weights = hashlib.sha256()
    for path in sorted([*base.glob("*.safetensors"), base / "config.json"]):
        with path.open("rb") as file:
            weights.update(hashlib.file_digest(file, "sha256").digest())
    data = hashlib.sha256()
    for windows in texts:
        for tensor_NT in (windows.ids_NT, windows.labels_NT):
            data.update(_bytes(tensor_NT))
    return Identity({"spec": _bearing(spec), "base_model": weights.hexdigest(), "data": data.hexdigest()})


def _bytes(tensor: Tensor) -> bytes:
    return str(tuple(tensor.shape)).encode() + tensor.contiguous().numpy().tobytes()


def _bearing(spec: JobSpec) -> dict[str, Any]:
    """What of a spec must not change under a job: not where things come from, nor what is done after training.

    Nor what a second try may do otherwise, and still be the same training: see `jobs.overrides`.
    """
    content = spec.model_dump(mode="json", include={"method", "evaluation", "seed"})
    for key in ("micro_batch_size", "learning_rate"):
        content["method"]["train"].pop(key)
    for key in ("dataset", "prompts", "benchmark"):
        content["evaluation"].pop(key)
    if isinstance(spec.method.target, WeightBytes):  # how many parameters these are
        content["output"] = {"dtype": spec.output.dtype}
    return content


def _changes(old: object, new: object, path: str = "") -> Iterator[str]:
    """Each field that differs, as `path (old value, now new value)`.

    One that is new in this version was not there to be chosen: a running job survives an upgrade.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key, noted in sorted(old.items()):
            yield from _changes(noted, new.get(key), f"{path}.{key}".lstrip("."))
    elif old != new:
        yield f"{path} ({_shown(old)}, now {_shown(new)})"


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)
