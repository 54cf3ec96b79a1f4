"""How much memory a model needs at work: its weights, and the most that is allocated beside them."""

import gc
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from worker.engine import unused_memory
from worker.engine.side_by_side import weight_bytes

_PROCESS = Path("/proc/self")
_RESET_PEAK = "5"
"""What `clear_refs` understands as: the peak of the resident set starts anew (proc_pid_clear_refs(5))."""


def peak_bytes(model: PreTrainedModel, work: Callable[[], object]) -> int | None:
    """The weights of `model`, and what `work` needs beside all that is in memory before it.

    On CUDA what tensors need, exactly; on a CPU the growth of the process, or None where its peak cannot be asked for
    (it can on Linux). What libraries allocate once counts with the first call in a process: warm up before.
    """
    beside = _on_accelerator(model.device, work) if model.device.type == "cuda" else _on_host(work)
    return None if beside is None else weight_bytes(model) + max(0, beside)


def _on_accelerator(device: torch.device, work: Callable[[], object]) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _on_host(work: Callable[[], object]) -> int | None:
    gc.collect()
    unused_memory.give_back()  # it would hide what the work takes again
    try:
        (_PROCESS / "clear_refs").write_text(_RESET_PEAK)
        before = _resident("VmHWM")
        work()
        return _resident("VmHWM") - before
    except OSError:
        return None


def _resident(field: str) -> int:
    lines = dict(line.split(":", 1) for line in (_PROCESS / "status").read_text().splitlines())
    return 1024 * int(lines[field].split()[0])
