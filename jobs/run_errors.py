"""What can go wrong with a job once it has started; `errors` draws the whole tree."""

from jobs.refusals import PruneryError


class RunError(PruneryError):
    """The job started and could not go on."""

    code = "run_failed"
    title = "The job could not go on"


class LossNotFinite(RunError):
    """The training loss became NaN or infinite."""

    code = "nan_loss"


class ScoreNotFinite(RunError):
    """An importance score became NaN or infinite."""

    code = "score_not_finite"


class CheckpointMismatch(RunError):
    """The checkpoint to go on from was written for another spec, base model or data."""

    code = "checkpoint_mismatch"


class CheckpointLost(RunError):
    """The checkpoint that was to be published is not whole any more."""

    code = "checkpoint_lost"


class VerificationFailed(RunError):
    """The exported model, reloaded, does not answer as the trained one did."""

    code = "verification_failed"


class OutOfDisk(RunError):
    """The disk is full."""

    code = "out_of_disk"
    status = 507
    title = "The disk is full"


class OutOfGpuMemory(RunError):
    """The accelerator's memory is full."""

    code = "out_of_gpu_memory"


class GpuFault(RunError):
    """The accelerator itself has failed: it says so, by its memory's error correction or by the driver."""

    code = "gpu_fault"
    retryable = True


class OutOfHostMemory(RunError):
    """The machine's own memory is full."""

    code = "out_of_host_memory"


class StorageUnavailable(RunError):
    """Object storage or the database did not answer."""

    code = "storage_error"
    status = 503
    title = "Storage is unavailable"
    retryable = True


class WorkerLost(RunError):
    """The worker that had the job stopped answering, as often as is allowed."""

    code = "worker_lost"
    retryable = True


class Stalled(RunError):
    """The engine went on living and said nothing, as often as is allowed."""

    code = "stalled"
    retryable = True


class DeadlineExceeded(RunError):
    """The job did not end before its deadline."""

    code = "deadline_exceeded"


class MaxRuntimeExceeded(RunError):
    """The job was at work for longer than it may."""

    code = "max_runtime_exceeded"


class EngineCrashed(RunError):
    """The engine process ended without a word."""

    code = "engine_crashed"
    retryable = True


class SecretUnreadable(RunError):
    """A stored secret was encrypted with a key that is not there any more."""

    code = "secret_unreadable"


class EngineKilled(RunError):
    """Somebody killed the engine process, and it was not for its memory."""

    code = "engine_killed"
    retryable = True
