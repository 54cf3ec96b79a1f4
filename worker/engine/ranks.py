"""Several processes that train one model together, one on each device, as `torchrun` starts them.

The model is not wrapped: its parameters change their shapes at a cut, which the buckets of DistributedDataParallel
could not follow. Adapters are small, so their gradients are averaged in one exchange per optimizer step.
"""

import os
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, distributed

from jobs import errors


def join() -> None:
    """Meet the processes that the environment names, as `torchrun` sets it; without any, do nothing.

    Raises:
        ShardingImpossible: accelerate was told to shard the model.
    """
    for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        if os.environ.get(name, "").lower() in {"1", "true"}:
            raise errors.ShardingImpossible(
                f"{name} is set, but what it shards could not be cut.",
                hint="Unset it. For a model that no GPU can hold, set train.shard_base, or ask for base_precision "
                "'nf4'.",
            )
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("cpu:gloo,cuda:nccl")
    else:
        distributed.init_process_group("gloo")


def part() -> None:
    """Go on alone: what is started from here on knows nothing of the others."""
    if count() > 1:
        distributed.destroy_process_group()
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)


def count() -> int:
    """Processes that train together; 1 without `torchrun`."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def own() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if count() > 1 else 0


def is_first() -> bool:
    """Whether this is the one that writes, tells and publishes."""
    return own() == 0


def wait() -> None:
    """Until all are here."""
    if count() > 1:
        distributed.barrier()


def share_of(batch_size: int) -> int:
    """The part of a batch that each process has.

    Raises:
        BatchIndivisible: it cannot be divided evenly.
    """
    if batch_size % count():
        raise errors.BatchIndivisible(
            f"A batch of {batch_size} sequences cannot be divided among {count()} processes.",
            hint=f"Ask for a batch_size that is a multiple of {count()}, or start as many processes as divide it.",
        )
    return batch_size // count()


def summed(parts: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor summed over the processes, bit for bit the same on all of them, in one exchange.

    All must have one dtype and lie on one device.
    """
    if count() == 1 or not parts:
        return list(parts)
    flat = torch.cat([part.flatten() for part in parts])
    distributed.all_reduce(flat)
    pieces = flat.split([part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]


def gathered(part: Tensor) -> Tensor:
    """The vectors of all processes, which are of one length, end to end."""
    if count() == 1:
        return part
    whole = part.new_empty(count() * len(part))
    distributed.all_gather_into_tensor(whole, part)
    return whole


def average(gradients: Sequence[Tensor]) -> None:
    """Replace each by its mean over the processes, bit for bit the same on all of them."""
    if count() > 1:
        for gradient, total in zip(gradients, summed(gradients), strict=True):
            gradient.copy_(total / count())


@torch.no_grad()
def as_first(tensors: Iterable[Tensor]) -> None:
    """Replace each by what the first process holds: different devices round differently."""
    if count() == 1:
        return
    for tensor in tensors:
        whole = tensor.detach().contiguous()
        distributed.broadcast(whole, src=0)
        tensor.copy_(whole)


def as_first_says(answers: Sequence[bool]) -> list[bool]:
    """The first process's answers, on all of them."""
    if count() == 1:
        return list(answers)
    told = torch.tensor(answers)
    distributed.broadcast(told, src=0)
    return [bool(answer) for answer in told]
