"""What pruning adds to a checkpoint beside the Trainer's own state."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from jobs.shapes import ModelShape
from worker.engine import adapters, surgery
from worker.engine.architectures import Family
from worker.engine.perplexity_limit import Walk
from worker.engine.plan import Plan

PLAN, TENSORS = "plan.json", "pruning.safetensors"
_AVERAGE, _MENDED = "average.", "mended."


@dataclass(frozen=True)
class PruningState:
    """How far pruning has come.

    `present` is what the model physically has, `average` the state of the running average, and `mended` the frozen
    weights that are more than a part of the base model's, by place; `walk` is what a limit on perplexity has seen.
    """

    plan: Plan
    present: Plan
    average: dict[str, Tensor]
    mended: dict[str, Tensor]
    walk: Walk | None = None

    def write(self, folder: Path) -> None:
        """As JSON and safetensors."""
        content = {
            "plan": self.plan.to_json(),
            "present": self.present.to_json(),
            "walk": self.walk and asdict(self.walk),
        }
        (folder / PLAN).write_text(json.dumps(content), encoding="utf-8")
        tensors = {_AVERAGE + name: tensor for name, tensor in self.average.items()}
        tensors |= {_MENDED + name: tensor for name, tensor in self.mended.items()}
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / TENSORS)

    @classmethod
    def read(cls, folder: Path) -> "PruningState":
        """What `write` wrote there, on the CPU."""
        content = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        tensors = load_file(folder / TENSORS)
        average, mended = (
            {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            for prefix in (_AVERAGE, _MENDED)
        )
        walk = content["walk"] and Walk(**content["walk"])
        return cls(Plan.from_json(content["plan"]), Plan.from_json(content["present"]), average, mended, walk)

    @torch.no_grad()
    def impose(self, model: nn.Module, family: Family, shape: ModelShape) -> None:
        """Bring an untouched model with fresh adapters to this state, but for what the adapters have learned."""
        surgery.cut(model, family, shape, Plan.dense(shape), self.present, None)
        if self.plan != self.present:
            surgery.silence(model, family, shape, self.present, self.plan, None)
        if self.mended:
            for place, weight in gate_weights(model, family):
                weight.copy_(self.mended[place])


def gate_weights(model: nn.Module, family: Family) -> Iterator[tuple[str, Tensor]]:
    """What is stored of the gates' frozen weights, by place: reconstruction changes them, cut themselves or not.

    Each is to be used before the next one is asked for, in all processes.
    """
    for index, block in enumerate(family.layers(model)):
        for kind in family.kinds:
            gate = family.gate(kind)
            with adapters.whole(block, gate):
                for name, tensor in adapters.stored(block, gate).items():
                    yield f"{index}.{gate.path}.{name}", tensor
