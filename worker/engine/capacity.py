"""Whether the device, and the main memory beside it, have what a job needs."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import torch

from jobs import errors
from jobs.memory import PROCESS, Estimate


def check(found: Estimate, available: int, in_main_memory: int) -> None:
    """Raises DoesNotFit, with what to change, if the device or main memory has less than the job needs at its peak.

    Args:
        available: bytes of the device.
        in_main_memory: bytes of it, which are the device's own without an accelerator.
    """
    if found.host > in_main_memory:
        raise errors.DoesNotFit(
            f"Beside its accelerator the job needs about {found.host / 1e9:.2f} GB of main memory, to put the result "
            f"together; {in_main_memory / 1e9:.2f} GB are free.",
            hint="Give its worker more, or leave onnx out of output.formats if that is among them.",
        )
    if found.peak <= available:
        return
    hints = [
        (
            found.training,
            "Lower train.micro_batch_size or sequence_length, set train.gradient_checkpointing, or hold the frozen "
            "weights in 8 or 4 bits (train.base_precision) or, on several GPUs, in parts (train.shard_base).",
        ),
        (found.cutting, "Lower reconstruction.tokens_per_channel."),
        (found.proving, "Use a larger device."),
        (found.converting, "Leave onnx out of output.formats."),
        (found.evaluating, "Use a larger device, or ask for 16 bits (output.dtype)."),
    ]
    hint = next(hint for size, hint in hints if size == found.peak)
    if found.teacher and found.peak not in (found.converting, found.evaluating):
        hint = f"Have the dense model's answers noted on disk (distillation.mode: cached). {hint}"
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in asdict(found).items())
    raise errors.DoesNotFit(
        f"The job needs about {found.peak / 1e9:.2f} GB at its peak; {available / 1e9:.2f} GB are free ({parts}).",
        hint=hint,
    )


def available() -> int:
    """Bytes that this process may still take, with what it has: of the accelerator, else of main memory."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() + PROCESS
    return in_main_memory()


def in_main_memory() -> int:
    """The same of this machine, or control group."""
    own = psutil.Process().memory_info().rss
    return own + min([psutil.virtual_memory().available, *_left_to_group()])


def _left_to_group() -> Iterator[int]:
    """What the control group (version 2) of a container leaves."""
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()) != "max":
        yield int(most) - int(used.read_text())
