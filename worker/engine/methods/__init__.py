"""One file per method; this `match` is complete by the type checker's word."""

from typing import assert_never

from jobs.specs import LoraPruneSpec, MethodSpec
from worker.engine.methods import lora_prune
from worker.engine.methods.outcome import Outcome, Task


def run(task: Task, spec: MethodSpec) -> Outcome:
    """Decide what to remove, and train what stays."""
    match spec:
        case LoraPruneSpec():
            return lora_prune.run(task, spec)
        case _:
            assert_never(spec)
