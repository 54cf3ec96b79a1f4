"""One of two processes that train together, as `torchrun` starts them."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from tests.worker.engine.runs import Stopped, prune, spec_of

PROCESSES = 2


def spec(**train: Any) -> Any:
    """Nine steps of eight sequences: two epochs and a bit, several micro-batches in each step, cuts at the second."""
    return spec_of(train={"steps": 9, "batch_size": 8, "micro_batch_size": 2} | train)


def meet(rank: int, port: int) -> None:
    """The other process."""
    torch.set_num_threads(1)
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= where | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(PROCESSES)}
    distributed.init_process_group("gloo")


def main(
    rank: int, port: int, model: Path, folder: Path, stop_after: int | None = None, *, shard_base: bool = False
) -> None:
    """Prune in this process, and save what came of it in `folder`; nothing if it stops before the end."""
    meet(rank, port)
    with suppress(Stopped):
        run = prune(
            model,
            spec(shard_base=shard_base),
            folder / f"work-{rank}",
            checkpoints=folder / "checkpoints",
            every=4,
            stop_after=stop_after,
        )
        result = {"plan": run.plan.to_json(), "losses": run.losses, "state": run.state}
        torch.save(result, folder / f"process-{rank}.pt")
    distributed.destroy_process_group()
