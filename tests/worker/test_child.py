"""The name that an engine's error ends under."""

import errno

import pytest
import torch
from safetensors import SafetensorError

from worker import child


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("the data set could not be built")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "out_of_disk"),
        # As safetensors says it, in words alone.
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "out_of_disk"),
        (wrapped(OSError(errno.EDQUOT, "Quota exceeded")), "out_of_disk"),
        (OSError(errno.EACCES, "Permission denied"), "internal"),
        (SafetensorError("Error while serializing: I/O error: Permission denied (os error 13)"), "internal"),
    ],
)
def test_a_full_disk_is_known_by_whatever_library_meets_it(error: Exception, code: str) -> None:
    assert child._named(error).code == code


def refused_by_torch() -> Exception:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    return raised.value


@pytest.mark.parametrize("error", [MemoryError(), pytest.param(refused_by_torch(), id="torch")])
def test_a_machine_without_memory_has_a_name(error: Exception) -> None:
    assert child._named(error).code == "out_of_host_memory"


@pytest.mark.parametrize(
    ("says", "code"),
    [
        ("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be reported later", "gpu_fault"),
        ("CUDA error: uncorrectable NVLink error detected during the execution", "gpu_fault"),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable: GPU is lost", "gpu_fault"),
        ("CUDA error: device-side assert triggered", "internal"),
        ("CUDA error: an illegal memory access was encountered", "internal"),
    ],
)
def test_a_broken_accelerator_is_told_from_a_program_that_misuses_it(says: str, code: str) -> None:
    assert child._named(torch.AcceleratorError(says)).code == code
