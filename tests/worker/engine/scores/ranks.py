"""One of two processes that train the same model on different sequences, as a plain DDP wrapper does it."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from jobs.criteria import Criterion
from jobs.widths import Widths
from tests.worker.engine.scores.steps import adapted_model, sequences, start
from worker.engine import plan
from worker.engine.plan import Plan, Scores
from worker.engine.scores.running_average import RunningAverage
from worker.engine.windows import IGNORED

RANKS = 2
TARGET = (Widths(kv_groups=1, ffn=24),) * 2
Result = dict[str, tuple[dict[str, Tensor], Scores, list[dict[str, Any]]]]
"""By criterion: what this rank itself has averaged, the average scores, and the plan that comes of them."""


def main(rank: int, folder: Path) -> None:
    """Score by each criterion, and save what came of it in `folder`."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    result = {criterion: scored(criterion, rank) for criterion in get_args(Criterion)}
    torch.save(result, folder / f"rank-{rank}.pt")
    distributed.destroy_process_group()


def scored(criterion: Criterion, rank: int) -> tuple[dict[str, Tensor], Scores, list[dict[str, Any]]]:
    """Two steps, each of one micro-batch per sequence of this rank's half."""
    model, shape = adapted_model()
    wrapped = DistributedDataParallel(model)
    scorer, average, dense = start(model, shape, criterion=criterion), RunningAverage(0.9), Plan.dense(shape)
    ids_NT, labels_NT = sequences(shape.vocab)
    learned = (labels_NT[:, 1:] != IGNORED).sum()
    for _ in range(2):
        for number, place in enumerate(mine := range(rank, len(ids_NT), RANKS)):
            is_last = number == len(mine) - 1
            with nullcontext() if is_last else wrapped.no_sync():
                ids_BT, labels_BT = ids_NT[place : place + 1], labels_NT[place : place + 1]
                loss = wrapped(input_ids=ids_BT, labels=labels_BT, num_items_in_batch=learned).loss
                # Gradients are averaged over the ranks, while the loss is already divided by all tokens.
                (loss * RANKS).backward()
        average.add(scorer.take(dense))
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
        wrapped.zero_grad()
    scorer.close()
    own = {name: tensor.clone() for name, tensor in average.state().items()}  # before ranks agree on the first one's
    return own, average.value(), plan.narrow(dense, average.value(), TARGET).to_json()
